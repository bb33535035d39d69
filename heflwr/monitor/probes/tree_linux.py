"""The process tree on Linux, from kept-open /proc files and CPU clocks.

A process's CPU clock has nanosecond resolution and costs half a microsecond; it does not include children. Their time
arrives in the parent's `cutime` when it waits for them (proc_pid_stat(5)), in whole ticks. The law of this file:

    used = sum over living members of (CPU clock + waited-for time) - the same sum at open()

It is continuous when a child ends and is waited for: its time leaves one term and enters another. Where nobody waits
(SIGCHLD ignored, an orphan reaped by init) the sum falls, and what was counted is kept.
"""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress

from heflwr.monitor.probes.tree import AGENT_MARK, SCAN_SECONDS, ProcessGone

_SCAN_NS = int(SCAN_SECONDS * 0.9e9)
"""A little less than SCAN_SECONDS, so that a tick every 0.5 s that comes a moment early still looks."""

_PSS_NS = 1_000_000_000
"""Shortest time between two readings of the pages shared inside the tree."""

_PSS_SHARE = 200
"""Reading shared pages (0.2 to 10 ms a process) may take one part in so many of the time."""

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_ROUNDING_NS = 4 * _TICK_NS
"""A fall of the sum by less is the rounding of ticks, not a lost child."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Member:
    """One process of the tree, by its kept-open stat file: a recycled pid cannot be taken for it."""

    __slots__ = ("clock", "cpu_ns", "excess", "ours", "pid", "resident", "settled", "stat", "threads", "waited_ns")

    def __init__(self, pid: int, proc: str, has_clock: bool) -> None:
        self.stat = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self.pid = pid
        self.clock = (
            ((~pid) << 3) | 2 if has_clock else None
        )  # CPUCLOCK_SCHED of the thread group: clock_getcpuclockid(3)
        self.cpu_ns = self.waited_ns = self.resident = self.excess = 0
        self.threads = 1
        self.ours = False
        self.settled = False  # True once its command line is surely its own, not its parent's before exec

    def read(self) -> None:
        """Read everything. Raises ProcessLookupError when the process is gone."""
        data = os.pread(self.stat, 1024, 0)
        fields = data[data.rindex(b")") + 2 :].split(None, 22)
        ticks = (int(fields[11]) + int(fields[12])) * _TICK_NS
        if self.clock is None or ticks > self.cpu_ns:
            self.cpu_ns = ticks
        self.waited_ns = (int(fields[13]) + int(fields[14])) * _TICK_NS
        self.threads = int(fields[17])
        self.resident = int(fields[21]) * _PAGE
        self.read_clock()

    def read_clock(self) -> None:
        if self.clock is not None:
            with suppress(OSError):  # a zombie has no clock; its ticks come with the next read()
                self.cpu_ns = time.clock_gettime_ns(self.clock)


class LinuxTree:
    """See `tree.Tree`."""

    def __init__(self, pid: int, proc: str, has_clocks: bool) -> None:
        self._pid = pid
        self._proc = proc
        self._has_clocks = has_clocks
        self._is_self = has_clocks and pid == os.getpid()
        self._members: list[_Member] = []
        self._known: set[int] = set()
        self._left_out: list[list[int]] = []  # [clock id, last value] of our own threads
        self._statm = -1

    def open(self) -> None:
        try:
            root = _Member(self._pid, self._proc, self._has_clocks)
            self._statm = os.open(f"{self._proc}/{self._pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ProcessGone(f"there is no process {self._pid}") from error
        self._members = [root]
        self._known = {self._pid}
        self._last_pid = b""
        self._highest_ns = 0
        self._base_ns = 0
        self._next_pss_ns = 0
        self._scan()
        self._base_ns = self._sum_ns()
        self._next_scan_ns = 0

    def close(self) -> None:
        for descriptor in (self._statm, *(member.stat for member in self._members)):
            with suppress(OSError):
                os.close(descriptor)
        self._members = []
        self._statm = -1

    def leave_out_thread(self, ident: int) -> None:
        clock = time.pthread_getcpuclockid(ident)
        self._left_out.append([clock, 0])
        self._base_ns -= time.clock_gettime_ns(clock)

    def refresh(self, now_ns: int, *, scan: bool = False) -> None:
        if scan or now_ns >= self._next_scan_ns or not self._has_clocks:
            self._next_scan_ns = now_ns + _SCAN_NS
            self._scan()
            if self._has_company() and now_ns >= self._next_pss_ns:
                cost_ns = self._read_shared()
                self._next_pss_ns = now_ns + max(_PSS_NS, cost_ns * _PSS_SHARE)

    def cpu_ns(self) -> int:
        for member in self._members:
            member.read_clock()
        self._highest_ns = max(self._highest_ns, self._sum_ns())
        return self._highest_ns

    def resident_bytes(self) -> int:
        try:
            root_pages = int(os.pread(self._statm, 128, 0).split(None, 2)[1])
        except ProcessLookupError as error:
            raise ProcessGone(f"process {self._pid} has ended") from error
        root = self._members[0]
        total = max(0, root_pages * _PAGE - root.excess)
        for member in self._members[1:]:
            if not member.ours:
                total += max(0, member.resident - member.excess)
        return total

    def pids(self) -> list[int]:
        return [member.pid for member in self._members if not member.ours]

    def _has_company(self) -> bool:
        return any(not member.ours for member in self._members[1:])

    def _sum_ns(self) -> int:
        total = -self._base_ns
        for member in self._members:
            if not member.ours:
                total += member.cpu_ns + member.waited_ns
        for left_out in self._left_out:
            with suppress(OSError):  # the thread has ended: its last value stands
                left_out[1] = time.clock_gettime_ns(left_out[0])
            total -= left_out[1]
        return total

    def _scan(self) -> None:
        """Look for new members and drop the ended ones, in an order that counts nobody's time twice."""
        waited_before = sum(member.waited_ns for member in self._members)
        ended = self._read_all()
        last_pid = self._read_last_pid()
        if last_pid != self._last_pid or not last_pid:  # no process was born on this machine since: no child either
            self._last_pid = last_pid
            self._discover()
        if ended or waited_before != sum(member.waited_ns for member in self._members):
            self._read_all()  # who was alive a moment ago may be in its parent's waited-for time by now
        if not self._has_company():
            self._members[0].excess = 0
        total = self._sum_ns()
        if self._highest_ns - total > _ROUNDING_NS:
            self._base_ns -= self._highest_ns - total

    def _read_all(self) -> bool:
        """Read every member, children before parents; return True if one has ended."""
        ended = []
        for member in reversed(self._members):
            try:
                member.read()
            except ProcessLookupError:
                ended.append(member)
        for member in ended:
            if member.pid == self._pid:
                raise ProcessGone(f"process {self._pid} has ended")
            if member.ours:  # its time enters its parent's waited-for time just so
                self._base_ns += member.cpu_ns + member.waited_ns
            os.close(member.stat)
            self._members.remove(member)
            self._known.discard(member.pid)
        if self._is_self:  # microseconds instead of ticks
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            self._members[0].waited_ns = int((usage.ru_utime + usage.ru_stime) * 1e9)
        return bool(ended)

    def _read_last_pid(self) -> bytes:
        try:
            with open(f"{self._proc}/loadavg", "rb", buffering=0) as file:
                return file.read(128).rpartition(b" ")[2]
        except OSError:
            return b""

    def _discover(self) -> None:
        """Take in every descendant not known yet, and tell ours from the user's."""
        try:
            children_of = self._children_by_file
            with suppress(ProcessLookupError):
                children_of(self._members[0])
        except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN, as on many Jetsons
            parents = self._parents_by_walk()
            children_of = lambda member: [pid for pid, parent in parents.items() if parent == member.pid]  # noqa: E731
        for member in self._members[1:]:
            if not member.settled:
                self._recognise(member)
        for member in self._members:  # grows while we walk: grandchildren are found in the same pass
            if member.ours:
                continue
            with suppress(OSError):  # ended while we looked
                for pid in children_of(member):
                    if pid not in self._known:
                        self._take_in(pid)

    def _take_in(self, pid: int) -> None:
        member = _Member(pid, self._proc, self._has_clocks)
        try:
            member.read()
        except OSError:
            os.close(member.stat)
            raise
        self._recognise(member)
        member.settled = False
        self._members.append(member)
        self._known.add(pid)

    def _recognise(self, member: _Member) -> None:
        member.settled = True
        with suppress(OSError), open(f"{self._proc}/{member.pid}/cmdline", "rb", buffering=0) as file:
            member.ours = AGENT_MARK in file.read(4096)

    def _children_by_file(self, member: _Member) -> list[int]:
        tasks = f"{self._proc}/{member.pid}/task"
        threads = [str(member.pid)] if member.threads == 1 else os.listdir(tasks)
        found: list[int] = []
        for thread in threads:
            try:
                with open(f"{tasks}/{thread}/children", "rb", buffering=0) as file:
                    found += map(int, file.read().split())
            except FileNotFoundError:
                if thread == str(member.pid) and os.path.exists(f"{tasks}/{thread}"):
                    raise
        return found

    def _parents_by_walk(self) -> dict[int, int]:
        parents = {}
        for name in os.listdir(self._proc):
            if name.isdigit():
                with suppress(OSError), open(f"{self._proc}/{name}/stat", "rb", buffering=0) as file:
                    data = file.read(1024)
                    parents[int(name)] = int(data[data.rindex(b")") + 2 :].split(None, 2)[1])
        return parents

    def _read_shared(self) -> int:
        """Read how much of each member's memory is shared (RSS - PSS); return what that took, nanoseconds."""
        before = time.monotonic_ns()
        for member in self._members:
            if member.ours:
                continue
            try:
                with open(f"{self._proc}/{member.pid}/smaps_rollup", "rb", buffering=0) as file:
                    lines = file.read(2048).splitlines()
            except OSError:  # not ours to read: its RSS stands
                continue
            sizes = {line[:4]: int(line.split()[1]) * 1024 for line in lines if line[:4] in (b"Rss:", b"Pss:")}
            member.excess = max(0, sizes[b"Rss:"] - sizes[b"Pss:"]) if len(sizes) == 2 else 0
        return time.monotonic_ns() - before
