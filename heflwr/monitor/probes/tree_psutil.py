"""The process tree where there is no /proc: through psutil, at its resolution (10 ms on most systems).

A child's time counts as far as it was seen: what it used after the last look before its end is lost, since these
systems do not pass it on to the parent.
"""

from __future__ import annotations

from contextlib import suppress

import psutil

from heflwr.monitor.probes.tree import AGENT_MARK, SCAN_SECONDS, ProcessGone

_SCAN_NS = int(SCAN_SECONDS * 0.9e9)


class PsutilTree:
    """See `tree.Tree`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._members: dict[psutil.Process, float] = {}  # CPU seconds last seen
        self.looks = 0

    def open(self) -> None:
        try:
            self._root = psutil.Process(self._pid)
        except psutil.NoSuchProcess as error:
            raise ProcessGone(f"there is no process {self._pid}") from error
        self._members = {}
        self._ended_seconds = 0.0
        self._base_seconds = 0.0
        self._next_scan_ns = 0
        self._saw_end = False
        self._scan()
        self._base_seconds = self._read_cpu()

    def close(self) -> None:
        self._members = {}

    def leave_out_thread(self, ident: int) -> None:
        """Nothing to do: a thread's own time cannot be had in the process's clock here."""

    def refresh(self, now_ns: int, *, scan: bool = False) -> None:
        if scan or now_ns >= self._next_scan_ns:
            self._next_scan_ns = now_ns + _SCAN_NS
            self._scan()
            if self._has_ended():  # its last numbers can still be read, and nothing will change them
                if self._saw_end and not scan:
                    raise ProcessGone(f"process {self._pid} has ended")
                self._saw_end = True

    def cpu_ns(self) -> int:
        return int((self._read_cpu() - self._base_seconds) * 1e9)

    def resident_bytes(self) -> int:
        total = 0
        for process in list(self._members):
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def pids(self) -> list[int]:
        return [process.pid for process in self._members]

    def _has_ended(self) -> bool:
        """True for a process that only waits for its parent to take note of its end."""
        with suppress(psutil.Error):
            return self._root.status() == psutil.STATUS_ZOMBIE
        return False

    def _scan(self) -> None:
        self.looks += 1
        if not self._root.is_running():
            raise ProcessGone(f"process {self._pid} has ended")
        self._members.setdefault(self._root, 0.0)
        with suppress(psutil.Error):
            for process in self._root.children(recursive=True):
                if process not in self._members and not self._is_ours(process):
                    self._members[process] = 0.0

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return AGENT_MARK.decode() in " ".join(process.cmdline())
        return False

    def _read_cpu(self) -> float:
        for process in list(self._members):
            try:
                times = process.cpu_times()
                self._members[process] = times.user + times.system
            except psutil.NoSuchProcess:
                self._ended_seconds += self._members.pop(process)
            except psutil.Error:
                continue  # not allowed to look just now: what was seen last stands
        return self._ended_seconds + sum(self._members.values())
