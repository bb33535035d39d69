"""The highest resident memory of this process while a request was in flight.

The kernel keeps one peak a process (VmHWM in proc(5)), which can be set back. Whenever a request begins, what the peak
was since the last time is noted for all that are in flight, and it is set back: so each request knows the highest of
the whole time that it took, however they overlap. Whose memory it was cannot be told where they do; only a request that
was alone from its beginning to its end knows by how much memory rose for it.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

PROC = Path("/proc")


class Stay:
    """A request in flight.

    Attributes:
        peak_bytes: Highest so far, as far as it was noted.
        is_alone: No other request has been in flight since it began.
    """

    __slots__ = ("begun_bytes", "is_alone", "peak_bytes")

    def __init__(self, resident_bytes: int, *, is_alone: bool) -> None:
        self.begun_bytes = self.peak_bytes = resident_bytes
        self.is_alone = is_alone


class HighWater:
    """Peaks of overlapping stays in one process; from any thread."""

    def __init__(self, proc: Path = PROC) -> None:
        """Open the kernel's files, for good: opening them for each request would cost more than reading them.

        Raises:
            OSError: Not Linux, or the peak may not be set back here.
        """
        self._lock = threading.RLock()  # a request that nobody closed may end by garbage collection, within any of this
        self._stays: set[Stay] = set()
        self._descriptors: list[int] = []
        weakref.finalize(self, _close, self._descriptors).atexit = False
        for name, flags in (("status", os.O_RDONLY), ("clear_refs", os.O_WRONLY)):
            self._descriptors.append(os.open(proc / "self" / name, flags))
        self._read()
        self._set_back()

    def enter(self) -> Stay:
        """A request begins. Raises OSError where the kernel does not answer."""
        with self._lock:
            peak, resident = self._read()
            self._set_back()
            for other in tuple(self._stays):
                other.peak_bytes = max(other.peak_bytes, peak)
                other.is_alone = False
            stay = Stay(resident, is_alone=not self._stays)
            self._stays.add(stay)
            return stay

    def leave(self, stay: Stay) -> tuple[int, int | None]:
        """A request ends: return its peak, and by how much memory rose if it was alone. Raises OSError as enter()."""
        with self._lock:
            self._stays.discard(stay)
            peak = max(stay.peak_bytes, self._read()[0])
            return peak, peak - stay.begun_bytes if stay.is_alone else None

    def _read(self) -> tuple[int, int]:
        """Return the peak since it was set back, and what is resident now."""
        status = os.pread(self._descriptors[0], 4096, 0)
        return _field(status, b"VmHWM:"), _field(status, b"VmRSS:")

    def _set_back(self) -> None:
        os.pwrite(self._descriptors[1], b"5", 0)


_shared: dict[int, HighWater] = {}
"""By pid, so that a fork opens its own: the parent's files tell of the parent."""


def high_water() -> HighWater:
    """Return the one of this process: two would set the peak back without the other's knowing. Raises OSError."""
    pid = os.getpid()
    return _shared.get(pid) or _shared.setdefault(pid, HighWater())  # no lock, which a fork could inherit held


def let_go_of_parent() -> None:
    """Close, in a forked child, the parent's files: now, while these descriptors are still theirs."""
    _shared.clear()


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _field(status: bytes, name: bytes) -> int:
    """Return a field of /proc/PID/status in bytes. Raises OSError where it is not there."""
    _, found, rest = status.partition(name)
    if not found:
        raise OSError(f"/proc/self/status has no {name.decode()}")
    return int(rest.split(None, 1)[0]) * 1024
