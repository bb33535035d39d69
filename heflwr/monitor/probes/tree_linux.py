"""The process tree on Linux, from kept-open /proc files and CPU clocks.

A process's CPU clock has nanosecond resolution and costs half a microsecond; it does not include children. Their time
arrives in the parent's `cutime` when it waits for them (proc_pid_stat(5)), in whole ticks. The law of this file:

    used = sum over living members of (CPU clock + waited-for time) - base, and base is that sum at open()

It is continuous when a child ends and is waited for: its time leaves one term and enters another. Where nobody waits
(SIGCHLD ignored, an orphan reaped by init) the time last seen is taken out of the base instead, so that it stays
counted; what such a child used after the last look is lost.
"""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from contextlib import suppress

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.tree import AGENT_MARK, SCAN_SECONDS, ProcessGone

_SCAN_NS = int(SCAN_SECONDS * 0.9e9)
"""A little less than SCAN_SECONDS, so that a tick every 0.5 s that comes a moment early still looks."""

_PSS_NS = 1_000_000_000
"""Shortest time between two readings of the pages shared inside the tree."""

_PSS_SHARE = 200
"""Reading shared pages (0.2 to 10 ms a process) may take one part in so many of the time."""

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_ROUNDING_NS = 2 * _TICK_NS
"""cutime and cstime are each cut to whole ticks: a child's time may arrive smaller by that."""

_FINE_ROUNDING_NS = 1_000_000
"""The same for our own process, whose waited-for time getrusage(2) tells in microseconds, with a margin."""

_PASSES = 5
"""Most readings of the whole tree in one look: one is enough unless children end while they are read."""

_EXEC_LOOKS = 3
"""Looks at a new process's command line: until it calls exec, a child shows its parent's."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CPUCLOCK_SCHED = 2


class _Member:
    """One process of the tree, by its kept-open stat file: a recycled pid cannot be taken for it."""

    __slots__ = (
        "clock",
        "cpu_ns",
        "excess",
        "is_zombie",
        "looks",
        "ours",
        "parent",
        "pid",
        "resident",
        "stat",
        "threads",
        "waited_ns",
    )

    def __init__(self, pid: int, proc: str, has_clock: bool) -> None:
        self.stat = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self.pid = pid
        self.clock = ((~pid) << 3) | _CPUCLOCK_SCHED if has_clock else None  # as clock_getcpuclockid(3) makes it
        self.cpu_ns = self.waited_ns = self.resident = self.excess = self.parent = self.looks = 0
        self.threads = 1
        self.is_zombie = self.ours = False

    def read(self) -> None:
        """Read everything. Raises ProcessLookupError when the process is gone."""
        data = os.pread(self.stat, 1024, 0)
        fields = data[data.rindex(b")") + 2 :].split(None, 22)
        if not self.read_clock():
            self.cpu_ns = max(self.cpu_ns, (int(fields[11]) + int(fields[12])) * _TICK_NS)
        self.parent = int(fields[1])
        self.waited_ns = (int(fields[13]) + int(fields[14])) * _TICK_NS
        self.threads = int(fields[17])
        self.resident = int(fields[21]) * _PAGE
        self.is_zombie = fields[0] in b"ZX" and self.threads <= 1  # else its first thread has ended, others go on

    def read_clock(self) -> bool:
        if self.clock is not None:
            try:
                self.cpu_ns = time.clock_gettime_ns(self.clock)
                return True
            except OSError:  # it has just ended: what was seen last stands
                pass
        return False


class LinuxTree:
    """See `tree.Tree`."""

    def __init__(self, pid: int, proc: str, has_clocks: bool) -> None:
        self._pid = pid
        self._proc = proc
        self._has_clocks = has_clocks
        self._is_self = has_clocks and pid == os.getpid()
        self._members: list[_Member] = []
        self._left_out: list[list[int]] = []  # [clock id, last value] of our own threads
        self._statm = self._loadavg = -1
        self.looks = 0

    def open(self) -> None:
        try:
            self._members = [_Member(self._pid, self._proc, self._has_clocks)]
            self._statm = os.open(f"{self._proc}/{self._pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            self.close()
            raise ProcessGone(f"there is no process {self._pid}") from error
        except OSError as error:
            self.close()
            raise SourceUnavailable(f"cannot look at process {self._pid}: {error}") from error
        with suppress(OSError):
            self._loadavg = os.open(f"{self._proc}/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        # Absent from kernels without CONFIG_PROC_CHILDREN, as on many Jetsons
        self._has_children_files = os.path.exists(f"{self._proc}/{self._pid}/task/{self._pid}/children")
        self._known = {self._pid}
        self._last_pid = b""
        self._highest_ns = self._base_ns = 0
        self._next_pss_ns = 0
        self._saw_end = False
        try:
            self._look()
        except BaseException:
            self.close()
            raise
        self._base_ns = self._sum_ns()
        self._next_scan_ns = 0

    def close(self) -> None:
        for descriptor in (self._statm, self._loadavg, *(member.stat for member in self._members)):
            with suppress(OSError):
                os.close(descriptor)
        self._members = []
        self._statm = self._loadavg = -1

    def leave_out_thread(self, ident: int) -> None:
        clock = time.pthread_getcpuclockid(ident)
        self._left_out.append([clock, 0])
        self._base_ns -= time.clock_gettime_ns(clock)

    def refresh(self, now_ns: int, *, scan: bool = False) -> None:
        if now_ns < self._next_scan_ns and self._has_clocks and not scan:
            return
        self._next_scan_ns = now_ns + _SCAN_NS
        self.looks += 1
        if self._is_quiet():
            self._read_own_waited()
            return
        try:
            self._look()
        finally:  # a look that failed half-way (no descriptor left) still brought the known members up to date
            if self._has_company() and now_ns >= self._next_pss_ns:
                began_ns = time.monotonic_ns()
                self._read_shared(self._members)
                self._next_pss_ns = now_ns + max(_PSS_NS, (time.monotonic_ns() - began_ns) * _PSS_SHARE)
        if self._members[0].is_zombie:  # its last numbers can still be read, and nothing will change them
            if self._saw_end and not scan:
                raise ProcessGone(f"process {self._pid} has ended")
            self._saw_end = True

    def cpu_ns(self) -> int:
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
            member.read_clock()
            if not member.ours:
                total += member.cpu_ns + member.waited_ns
        for left_out in self._left_out:
            try:  # noqa: SIM105 - likewise
                left_out[1] = time.clock_gettime_ns(left_out[0])
            except OSError:  # the thread has ended: its last value stands
                pass
            total -= left_out[1]
        return total

    def _is_quiet(self) -> bool:
        """Return True where nobody was born on this machine since the last look, and we had no child then."""
        return self._is_self and len(self._members) == 1 and self._read_last_pid() == self._last_pid != b""

    def _look(self) -> None:
        """Drop the ended members, bring the others up to date, take new ones in; nobody's time counts twice."""
        waited = {member.pid: member.waited_ns for member in self._members}
        ended: list[_Member] = []
        for _ in range(_PASSES):  # who was alive a moment ago may be in its parent's waited-for time by now
            if not self._read_all(ended):
                break
        if ended:
            self._inherit(ended, waited)
        for member in self._members[1:]:
            if member.looks < _EXEC_LOOKS:
                self._recognise(member)
        last_pid = self._read_last_pid()
        if last_pid != self._last_pid or not last_pid:  # a process was born on this machine since
            self._discover()
            self._last_pid = last_pid
        if not self._has_company():
            self._members[0].excess = 0

    def _read_all(self, ended: list[_Member]) -> bool:
        """Read every member, children before parents; return True if one has ended or was waited for."""
        waited_ns = [member.waited_ns for member in self._members]
        gone = []
        for member in reversed(self._members):
            try:
                member.read()
            except ProcessLookupError:
                gone.append(member)
        if self._is_self:
            self._read_own_waited()
        has_changed = waited_ns != [member.waited_ns for member in self._members]
        for member in gone:
            if member.pid == self._pid:
                raise ProcessGone(f"process {self._pid} has ended")
            os.close(member.stat)
            self._members.remove(member)
            self._known.discard(member.pid)
        ended += gone
        return has_changed or bool(gone)

    def _read_own_waited(self) -> None:
        """Read our own waited-for time: in microseconds, where /proc has ticks."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._members[0].waited_ns = int((usage.ru_utime + usage.ru_stime) * 1e9)

    def _inherit(self, ended: list[_Member], waited: dict[int, int]) -> None:
        """Move the base by what the ended members' parents did not take over, and by what they should not have.

        Args:
            ended: Members that are gone since the last look.
            waited: Waited-for time of every member at the last look, nanoseconds, a pid a key.
        """
        gone = {member.pid: member for member in ended}
        theirs: dict[int, int] = defaultdict(int)  # what each heir should have taken over, nanoseconds
        ours: dict[int, int] = defaultdict(int)
        for member in ended:
            heir = member.parent
            for _ in ended:  # up to a living one
                if heir in gone:
                    heir = gone[heir].parent
            (ours if member.ours else theirs)[heir] += member.cpu_ns + waited[member.pid]
        alive = {member.pid: member for member in self._members if not member.ours}
        for heir in theirs.keys() | ours.keys():
            taken = alive[heir].waited_ns - waited[heir] if heir in alive else 0
            rounding = _FINE_ROUNDING_NS if self._is_self and heir == self._pid else _ROUNDING_NS
            if taken + rounding >= theirs[heir] + ours[heir]:
                self._base_ns += ours[heir]
            else:
                self._base_ns += taken - theirs[heir]

    def _read_last_pid(self) -> bytes:
        """Return the number of the process born last on this machine, b"" where that cannot be read."""
        try:
            return os.pread(self._loadavg, 128, 0).rpartition(b" ")[2]
        except OSError:
            return b""

    def _discover(self) -> None:
        """Take in every descendant not known yet. Raises OSError when no file can be opened; the rest stands."""
        parents = None if self._has_children_files else self._walk()
        for member in self._members:  # grows while we walk: grandchildren are found in the same pass
            if member.ours:
                continue
            try:
                children = self._children_by_file(member) if parents is None else parents[member.pid]
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended while we looked
            for pid in children:
                if pid not in self._known:
                    with suppress(FileNotFoundError, ProcessLookupError):
                        self._take_in(pid)

    def _take_in(self, pid: int) -> None:
        member = _Member(pid, self._proc, self._has_clocks)
        try:
            member.read()
            self._recognise(member)
        except BaseException:
            os.close(member.stat)
            raise
        self._members.append(member)
        self._known.add(pid)
        self._read_shared([member], is_new=True)

    def _recognise(self, member: _Member) -> None:
        """Tell our own agents from the user's processes."""
        member.looks += 1
        with (
            suppress(FileNotFoundError, ProcessLookupError),
            open(f"{self._proc}/{member.pid}/cmdline", "rb", buffering=0) as file,
        ):
            if AGENT_MARK in file.read(4096):
                member.ours = True

    def _children_by_file(self, member: _Member) -> list[int]:
        tasks = f"{self._proc}/{member.pid}/task"
        found: list[int] = []
        for thread in [str(member.pid)] if member.threads == 1 else os.listdir(tasks):
            with (
                suppress(FileNotFoundError, ProcessLookupError),  # the thread has ended
                open(f"{tasks}/{thread}/children", "rb", buffering=0) as file,
            ):
                found += map(int, file.readall().split())
        return found

    def _walk(self) -> dict[int, list[int]]:
        """Return every process's children, by asking every process for its parent."""
        children: dict[int, list[int]] = defaultdict(list)
        for name in os.listdir(self._proc):
            if name.isdigit():
                with (
                    suppress(FileNotFoundError, ProcessLookupError),
                    open(f"{self._proc}/{name}/stat", "rb", buffering=0) as file,
                ):
                    data = file.read(1024)
                    children[int(data[data.rindex(b")") + 2 :].split(None, 2)[1])].append(int(name))
        return children

    def _read_shared(self, members: list[_Member], *, is_new: bool = False) -> None:
        """Read how much of each member's memory others pay for: RSS - PSS.

        A new child's shared pages are taken for its parent's, which still counts them in full: RSS - USS, until the
        next reading of all members.
        """
        for member in members:
            if member.ours:
                continue
            try:
                with open(f"{self._proc}/{member.pid}/smaps_rollup", "rb", buffering=0) as file:
                    lines = file.read(2048).splitlines()
            except OSError:  # not ours to read, or a kernel before 4.14: its RSS stands
                continue
            sizes = {words[0]: int(words[1]) * 1024 for line in lines[1:] if len(words := line.split()) == 3}
            own = (b"Private_Clean:", b"Private_Dirty:") if is_new else (b"Pss:",)
            if b"Rss:" in sizes:
                member.excess = max(0, sizes[b"Rss:"] - sum(sizes.get(key, 0) for key in own))
