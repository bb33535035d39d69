"""Bytes that the process tree made the disks read and write (not those served from the page cache).

Counters are kept a process. Linux adds those of a child to its parent's when the parent waits for it (proc_pid_io(5)),
and to nobody's where nobody waits (SIGCHLD ignored, an orphan that init waits for). Which of the two it was is told by
the parent's count of waited-for page faults (`cminflt` in proc_pid_stat(5)): every process has some, and a parent's own
work does not move it. What was taken over is not counted again; all else that was counted stands.
"""

from __future__ import annotations

from typing import NamedTuple

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.tree import Tree

_PASSES = 5
"""Most readings of the whole tree in one look: two are enough unless children are waited for while they are read."""


class _Account(NamedTuple):
    """One process at one moment.

    Attributes:
        read: Bytes since its birth, those of the children that it waited for included.
        written: Likewise.
        parent: Its parent's number, 0 where bytes do not pass to it.
        faults: Page faults, those of the children that it waited for included.
        waited_faults: Page faults of the children that it waited for.
    """

    read: int
    written: int
    parent: int = 0
    faults: int = 0
    waited_faults: int = 0


_NEWBORN = _Account(0, 0)


class DiskProbe:
    """Fills disk_bytes_read and disk_bytes_written."""

    group = "disk"

    def __init__(self, machine: Machine, tree: Tree, pid: int) -> None:
        self._machine = machine
        self._tree = tree
        self._pid = pid

    def open(self) -> str:
        try:
            self._account(self._pid)
        except (OSError, AttributeError) as error:
            where = f"{self._machine.proc}/{self._pid}/io" if self._machine.proc else "psutil's Process.io_counters()"
            raise SourceUnavailable(f"disk: cannot read {where} ({error})") from error
        return "process tree"

    def start(self, now_ns: int) -> None:
        self._last: dict[int, _Account] = {}
        self._refused: set[int] = set()
        self._last, self._refused = self._look()

    def read(self, now_ns: int) -> tuple[float, ...]:
        last = self._last
        now, _ = self._look()
        # One that could not be read at start() counts from when it can be; all others are younger, and count from 0.
        before = {pid: last.get(pid, account if pid in self._refused else _NEWBORN) for pid, account in now.items()}
        gone = {pid: account for pid, account in last.items() if pid not in now}
        taken = _taken_over(gone, before, now)
        self._last = now
        self._refused -= now.keys()
        return (
            sum(max(0, now[pid].read - before[pid].read - taken[pid][0]) for pid in now),
            sum(max(0, now[pid].written - before[pid].written - taken[pid][1]) for pid in now),
        )

    def close(self) -> None:
        """Nothing to give back."""

    def _look(self) -> tuple[dict[int, _Account], set[int]]:
        """Return every process's account, children before parents, and those that we may not look at.

        One that was readable before keeps its last account while it is refused. Raises OSError when no file can be
        opened for another reason than the process's own.
        """
        accounts = self._last
        refused: set[int] = set()
        for _ in range(_PASSES):  # who was read a moment ago may be in its parent's account by now
            waited = {pid: account.waited_faults for pid, account in accounts.items()}
            accounts = {}
            for pid in reversed(self._tree.pids()):
                try:
                    accounts[pid] = self._account(pid)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # ended
                except PermissionError:  # another user's, or of a zombie only root may know
                    if pid in self._last:
                        accounts[pid] = self._last[pid]
                    else:
                        refused.add(pid)
            if waited == {pid: account.waited_faults for pid, account in accounts.items()}:
                break
        return accounts, refused

    def _account(self, pid: int) -> _Account:
        if self._machine.proc is None:
            return _account_by_psutil(pid)
        base = f"{self._machine.proc}/{pid}"
        with open(f"{base}/io", "rb", buffering=0) as file:
            fields = dict(line.split(b": ") for line in file.read(512).splitlines())
        with open(f"{base}/stat", "rb", buffering=0) as file:  # after the bytes: who was waited for since is noticed
            data = file.read(1024)
        stat = data[data.rindex(b")") + 2 :].split(None, 10)
        own, waited = int(stat[7]), int(stat[8])
        return _Account(int(fields[b"read_bytes"]), int(fields[b"write_bytes"]), int(stat[1]), own + waited, waited)


def _taken_over(
    gone: dict[int, _Account], before: dict[int, _Account], now: dict[int, _Account]
) -> dict[int, tuple[int, int]]:
    """Return how many bytes, read and written, of the `gone` each living process took over since `before`.

    A parent that waits for one child and lets another go to nobody at the same time may be credited with both, if they
    had no more page faults than others that it waited for; no other process's bytes suffer from that.
    """
    waited = {pid: now[pid].waited_faults - before[pid].waited_faults for pid in now}
    taken = dict.fromkeys(now, (0, 0))
    for account in reversed(gone.values()):  # parents before their children
        heir = account.parent
        for _ in gone:  # up to a living one
            if heir in gone:
                heir = gone[heir].parent
        if heir in now and waited[heir] >= account.faults:
            waited[heir] -= account.faults
            taken[heir] = taken[heir][0] + account.read, taken[heir][1] + account.written
    return taken


def _account_by_psutil(pid: int) -> _Account:
    """Return an account where there is no /proc: these systems pass no child's bytes on."""
    import psutil

    try:
        counters = psutil.Process(pid).io_counters()
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(str(error)) from error
    except psutil.AccessDenied as error:
        raise PermissionError(str(error)) from error
    except psutil.Error as error:
        raise OSError(str(error)) from error
    return _Account(counters.read_bytes, counters.write_bytes)
