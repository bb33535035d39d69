"""The watched process and its descendants: who belongs to it, how much CPU they used, how much memory they hold.

Two readers, one shape. `LinuxTree` reads kept-open /proc files and CPU clocks (nanoseconds, a microsecond a call);
`PsutilTree` serves every other system. A process once seen in the tree stays in it while it lives, also when its
parent dies before it. heflwr's own agents are seen and left out.
"""

from __future__ import annotations

from typing import Protocol

SCAN_SECONDS = 0.5
"""Shortest time between two looks for new descendants: a look costs a hundred times a reading of a known process."""

AGENT_MARK = b"heflwr.monitor.runners._agent"
"""In the command line of every process that heflwr starts to measure: what measuring costs is not the user's."""


class ProcessGone(ProcessLookupError):
    """The watched process has ended."""


class Tree(Protocol):
    """A process and its descendants."""

    looks: int
    """How often the membership was looked at; grows when refresh() did."""

    def open(self) -> None:
        """Find the process; what it used so far does not count. Raises ProcessGone where there is none."""

    def refresh(self, now_ns: int, *, scan: bool = False) -> None:
        """Bring the membership up to date when due, or now if `scan`. Raises ProcessGone when the process ended."""

    def cpu_ns(self) -> int:
        """Return the CPU time used since open(), nanoseconds, waited-for descendants included; never falls."""

    def resident_bytes(self) -> int:
        """Return the memory held, pages shared inside the tree counted once where the system tells."""

    def pids(self) -> list[int]:
        """Return the members alive, the watched process first, heflwr's own left out."""

    def leave_out_thread(self, ident: int) -> None:
        """Do not count the CPU time of this thread of the watched process: it is ours."""

    def close(self) -> None:
        """Give handles back."""
