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
        self._switches: dict[tuple[int, str], int] = {}
        self.read(now_ns)

    def read(self, now_ns: int) -> tuple[float, ...]:
        threads = files = 0
        switches: dict[tuple[int, str], int] = {}
        for pid in self._tree.pids():
            with suppress(OSError):  # ended, or not ours to look at
                count, opened, of_tasks = self._look(pid)
                threads += count
                files += opened
                switches.update({(pid, task): switched for task, switched in of_tasks.items()})
        switched = sum(max(0, now - self._switches.get(task, 0)) for task, now in switches.items())
        self._switches = switches
        return threads, files, switched

    def close(self) -> None:
        """Nothing to give back."""

    def _look(self, pid: int) -> tuple[int, int, dict[str, int]]:
        """Return threads, open files and each thread's context switches so far, of one process."""
        if self._machine.proc is None:
            import psutil

            try:
                process = psutil.Process(pid)
                if sys.platform == "win32":
                    opened = process.num_handles()
                else:
                    opened = process.num_fds()
                return process.num_threads(), opened, {"": sum(process.num_ctx_switches())}
            except psutil.Error as error:
                raise OSError(str(error)) from error
        base = f"{self._machine.proc}/{pid}"
        tasks = os.listdir(f"{base}/task")
        switches = dict.fromkeys(tasks, 0)
        for task in tasks:
            with (
                suppress(FileNotFoundError, ProcessLookupError),  # ended
                open(f"{base}/task/{task}/status", "rb", buffering=0) as file,
            ):
                for line in file.read(4096).splitlines():
                    if b"voluntary_ctxt_switches:" in line:  # and nonvoluntary
                        switches[task] += int(line.split()[1])
        return len(tasks), len(os.listdir(f"{base}/fd")), switches
