"""Bytes that the process tree made the disks read and write (not those served from the page cache)."""

from __future__ import annotations

from contextlib import suppress

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.tree import Tree

Counters = tuple[int, int]


class DiskProbe:
    """Fills disk_bytes_read and disk_bytes_written.

    A process's counters take in those of the children it waited for (proc_pid_io(5) on Linux), so the tree's sum goes
    on growing when a child ends; where it falls because nobody waited, what was counted is kept.
    """

    group = "disk"

    def __init__(self, machine: Machine, tree: Tree, pid: int) -> None:
        self._machine = machine
        self._tree = tree
        self._pid = pid

    def open(self) -> str:
        try:
            self._counters(self._pid)
        except (OSError, AttributeError) as error:
            where = f"{self._machine.proc}/{self._pid}/io" if self._machine.proc else "psutil's Process.io_counters()"
            raise SourceUnavailable(f"disk: cannot read {where} ({error})") from error
        return "process tree"

    def start(self, now_ns: int) -> None:
        self._last = self._sum()

    def read(self, now_ns: int) -> tuple[float, ...]:
        last, self._last = self._last, self._sum()
        return max(0, self._last[0] - last[0]), max(0, self._last[1] - last[1])

    def close(self) -> None:
        """Nothing to give back."""

    def _sum(self) -> Counters:
        read = written = 0
        for pid in self._tree.pids():
            with suppress(OSError):  # ended, or not ours to look at
                counters = self._counters(pid)
                read += counters[0]
                written += counters[1]
        return read, written

    def _counters(self, pid: int) -> Counters:
        if self._machine.proc is None:
            import psutil

            try:
                counters = psutil.Process(pid).io_counters()
            except psutil.Error as error:
                raise OSError(str(error)) from error
            return counters.read_bytes, counters.write_bytes
        with open(f"{self._machine.proc}/{pid}/io", "rb", buffering=0) as file:
            fields = dict(line.split(b": ") for line in file.read(512).splitlines())
        return int(fields[b"read_bytes"]), int(fields[b"write_bytes"])
