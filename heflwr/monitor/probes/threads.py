"""Threads, open files and context switches of the process tree."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.tree import Tree


class ThreadsProbe:
    """Fills threads, open_files and context_switches."""

    group = "threads"

    def __init__(self, machine: Machine, tree: Tree) -> None:
        self._machine = machine
        self._tree = tree

    def open(self) -> str:
        return "process tree"

    def start(self, now_ns: int) -> None:
        self._switches: dict[int, int] = {}
        for pid in self._tree.pids():
            with suppress(OSError):
                self._switches[pid] = self._look(pid)[2]

    def read(self, now_ns: int) -> tuple[float, ...]:
        threads = files = switched = 0
        switches: dict[int, int] = {}
        for pid in self._tree.pids():
            with suppress(OSError):  # ended, or not ours to look at
                count, opened, switches[pid] = self._look(pid)
                threads += count
                files += opened
                switched += max(0, switches[pid] - self._switches.get(pid, 0))
        self._switches = switches
        return threads, files, switched

    def close(self) -> None:
        """Nothing to give back."""

    def _look(self, pid: int) -> tuple[int, int, int]:
        """Return threads, open files and context switches so far of one process."""
        if self._machine.proc is None:
            import psutil

            try:
                process = psutil.Process(pid)
                if sys.platform == "win32":
                    opened = process.num_handles()
                else:
                    opened = process.num_fds()
                return process.num_threads(), opened, sum(process.num_ctx_switches())
            except psutil.Error as error:
                raise OSError(str(error)) from error
        base = f"{self._machine.proc}/{pid}"
        tasks = os.listdir(f"{base}/task")
        switches = 0
        for task in tasks:
            with suppress(FileNotFoundError), open(f"{base}/task/{task}/status", "rb", buffering=0) as file:
                for line in file.read(4096).splitlines():
                    if b"voluntary_ctxt_switches:" in line:  # and nonvoluntary
                        switches += int(line.split()[1])
        return len(tasks), len(os.listdir(f"{base}/fd")), switches
