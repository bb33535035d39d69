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
        self._switches: dict[int, dict[str, int]] = {}
        _, _, self._switches, self._refused = self._look()

    def read(self, now_ns: int) -> tuple[float, ...]:
        threads, files, switches, _ = self._look()
        switched = 0
        for pid, of_tasks in switches.items():
            if pid in self._refused:  # at start(): counts from now on
                self._refused.discard(pid)
                continue
            before = self._switches.get(pid, {})
            switched += sum(max(0, now - before.get(task, 0)) for task, now in of_tasks.items())
        self._switches = switches
        return threads, files, switched

    def close(self) -> None:
        """Nothing to give back."""

    def _look(self) -> tuple[int, int, dict[int, dict[str, int]], set[int]]:
        """Return threads, open files, each process's threads' switches so far, and those that we may not look at.

        One that was readable before keeps its switches while it is refused. Raises OSError when no file can be opened
        for another reason than the process's own.
        """
        threads = files = 0
        switches: dict[int, dict[str, int]] = {}
        refused: set[int] = set()
        for pid in self._tree.pids():
            try:
                count, opened, switches[pid] = self._look_at(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended
            except PermissionError:  # another user's, or a zombie's files
                if pid in self._switches:
                    switches[pid] = self._switches[pid]
                else:
                    refused.add(pid)
            else:
                threads += count
                files += opened
        return threads, files, switches, refused

    def _look_at(self, pid: int) -> tuple[int, int, dict[str, int]]:
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
            except psutil.NoSuchProcess as error:
                raise ProcessLookupError(str(error)) from error
            except psutil.AccessDenied as error:
                raise PermissionError(str(error)) from error
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
