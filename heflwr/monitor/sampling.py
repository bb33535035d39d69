"""The only loop: read every probe on a schedule, hand the sample to every sink and to whoever records the run.

The same loop runs in a thread of the watched process and in a child of it. It keeps a schedule, not a sleep: ticks fall
on start + k * interval however long a tick takes, and those that could not be kept are counted, not made up for.
"""

from __future__ import annotations

import functools
import json
import logging
import platform
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from heflwr import __version__
from heflwr.monitor.clock import Clock, SystemClock
from heflwr.monitor.errors import MonitorError
from heflwr.monitor.plan import Plan
from heflwr.monitor.probes import Probe
from heflwr.monitor.probes.tree import ProcessGone
from heflwr.monitor.sample import MISSING, Run, Sample
from heflwr.monitor.sinks import Sink

FIRST_SAMPLE_SECONDS = 0.02
"""The first sample comes this soon after start(), whatever the interval: long enough for a CPU share that means
something, short enough that a run of a moment has one."""

STOP = "stop"
MARK = "mark"
SYNC = "sync"
TELL = "tell"
"""Commands: take a last sample and end; take one now; say when everything before has been delivered; tell sinks of a
window (its name, start and end as JSON)."""

_logger = logging.getLogger("heflwr.monitor")


class Inbox:
    """Commands for the loop, from any thread; waiting for one costs a single lock."""

    def __init__(self) -> None:
        self._commands: deque[tuple[str, Any]] = deque()
        self._wake = threading.Lock()
        self._wake.acquire()

    def put(self, command: str, token: Any = 0) -> None:
        """Leave a command, with its token or what else belongs to it, and wake the loop."""
        self._commands.append((command, token))
        with suppress(RuntimeError):  # awake already
            self._wake.release()

    def wait(self, seconds: float) -> tuple[str, Any] | None:
        """Return the next command, or None when the time is up (or a moment before)."""
        if not self._commands:
            self._wake.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
        return self._commands.popleft() if self._commands else None


@dataclass(slots=True)
class Report:
    """How the loop itself fares: plain values only, so that it crosses a pipe as JSON.

    Attributes:
        missed_ticks: Ticks that fell due while an earlier one, or the machine, was busy.
        errors: Failed reads and writes, by probe group or sink.
        last_error: The latest of them, in words.
        sources: Where each group's numbers come from.
        sinks: What each sink has to say of itself.
        limits: The container's limits (see `probes.limits.Limits`).
        cpu_cores: What 100 % of cpu_usage is.
        failure: Why the run ended before stop(), or "".
    """

    missed_ticks: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    last_error: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    sinks: list[dict[str, Any]] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    cpu_cores: float = 0.0
    failure: str = ""


Deliver = Callable[[Sample, int], None]
"""Takes each sample with the token of the mark that asked for it, 0 for a scheduled one."""


class Sampling:
    """Carries out a plan: open(), run(), close()."""

    def __init__(self, plan: Plan, deliver: Deliver, clock: Clock | None = None) -> None:
        self.report = Report()
        self._plan = plan
        self._deliver = deliver
        self._clock = clock or SystemClock()
        self._tree = plan.tree()
        self._probes: list[tuple[Probe, tuple[float, ...]]] = []  # each with what stands in for it when it fails
        self._sinks: list[Sink] = []
        self._sequence = 0
        self._tree_is_open = self._is_closed = False

    def open(self) -> Run:
        """Take every handle, then set every baseline. Raises MonitorError, and leaves nothing open behind it."""
        plan = self._plan
        try:
            self._tree.open()
            self._tree_is_open = True
            limits = plan.limits()
            self.report.limits = asdict(limits)
            self.report.cpu_cores = plan.cpu_cores(limits)
            width: dict[str, int] = {}
            for metric in plan.metrics:
                width[metric.group] = width.get(metric.group, 0) + 1
            for probe in plan.probes(self._tree, limits):
                self.report.sources[probe.group] = probe.open()
                self._probes.append((probe, (MISSING,) * width[probe.group]))
            run = Run(
                identifier=plan.identifier,
                run=plan.run,
                pid=plan.pid,
                started=self._clock.time(),
                interval=plan.interval,
                metrics=plan.metrics,
                host=platform.node(),
                versions={
                    "heflwr": __version__,
                    "python": platform.python_version(),
                    "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
                },
                sources=self.report.sources,
                limits={name: value for name, value in asdict(limits).items() if isinstance(value, (int, float))},
            )
            for sink in plan.sinks:
                sink.open(run)
                self._sinks.append(sink)
            self._start_ns = self._clock.monotonic_ns()
            for probe, _ in self._probes:
                probe.start(self._start_ns)
        except ProcessGone as error:
            self.close()
            raise MonitorError(str(error)) from error
        except BaseException:
            self.close()
            raise
        self.refresh_report()
        return run

    def run(
        self, inbox: Inbox, on_sync: Callable[[int], None] = lambda token: None, *, leave_out_thread: bool = False
    ) -> None:
        """Sample until told to stop or until the watched process ends; then take one last sample.

        Args:
            inbox: Where STOP, MARK, SYNC and TELL come in.
            on_sync: Gets the SYNC's token once everything before it has been delivered.
            leave_out_thread: This thread belongs to the watched process: do not bill its CPU time to the user.
        """
        interval_ns = round(self._plan.interval * 1e9)
        due_ns = self._start_ns + min(interval_ns, round(FIRST_SAMPLE_SECONDS * 1e9))
        if leave_out_thread:
            self._tree.leave_out_thread(threading.get_ident())
        try:
            while True:
                order: tuple[str, Any] = inbox.wait((due_ns - self._clock.monotonic_ns()) * 1e-9) or ("", 0)
                command, token = order
                is_due = self._clock.monotonic_ns() >= due_ns  # also while commands keep coming
                if is_due or command == STOP:
                    self.tick(last=command == STOP)
                if is_due:
                    due_ns = self._due_after(due_ns, interval_ns)
                if command == STOP:
                    break
                if command == MARK:
                    self.tick(token)
                elif command == SYNC:
                    on_sync(token)
                elif command == TELL:
                    self._tell(token)
        except ProcessGone as error:
            self.report.failure = str(error)

    def _due_after(self, due_ns: int, interval_ns: int) -> int:
        """Return the schedule's next moment, and count those since `due_ns` that have gone by."""
        ticks = (self._clock.monotonic_ns() - self._start_ns) // interval_ns
        next_ns = self._start_ns + (ticks + 1) * interval_ns
        if due_ns > self._start_ns + interval_ns // 2:  # the first sample is not on the schedule's grid
            self.report.missed_ticks += max(0, (next_ns - due_ns) // interval_ns - 1)
        return next_ns

    def tick(self, mark: int = 0, *, last: bool = False) -> None:
        """Take one sample now and pass it on. Raises ProcessGone when the watched process has ended."""
        self._refresh_tree(self._clock.monotonic_ns(), scan=last or mark != 0)  # edges are exact
        now_ns = self._clock.monotonic_ns()  # after it: reading files may have waited for the interpreter lock
        unix = self._clock.time()
        values: list[float] = []
        for probe, missing in self._probes:
            try:
                values += probe.read(now_ns)
            except ProcessGone:
                raise
            except Exception as error:
                self._note(probe.group, error)
                values += missing
        sample = Sample(self._sequence, unix, (now_ns - self._start_ns) * 1e-9, tuple(values))
        self._sequence += 1
        self._deliver(sample, mark)
        for sink in self._sinks:
            try:
                sink.write(sample)
            except Exception as error:
                self._note(type(sink).__name__, error)

    def refresh_report(self) -> Report:
        """Bring what the sinks say of themselves up to date; after close() their last words stand."""
        if not self._is_closed:
            self.report.sinks = [self._facts(sink) for sink in self._sinks]
        return self.report

    def close(self, *, is_orphaned: bool = False) -> None:
        """Give every handle back; never raises. Sinks that want to know hear that the monitor was not stopped."""
        for sink in self._sinks:
            if is_orphaned and (orphan := getattr(sink, "orphan", None)) is not None:
                self._try(type(sink).__name__, orphan)
            self._try(type(sink).__name__, sink.close)
        self.refresh_report()
        self._is_closed = True
        for probe, _ in self._probes:
            self._try(probe.group, probe.close)
        if self._tree_is_open:
            self._try("tree", self._tree.close)
            self._tree_is_open = False

    def _facts(self, sink: Sink) -> dict[str, Any]:
        try:
            return sink.facts()
        except Exception as error:
            self._note(type(sink).__name__, error)
            return {"sink": type(sink).__name__}

    def _tell(self, window: str) -> None:
        """Tell of a window every sink that wants to know (see `heflwr.monitor.sinks`)."""
        told = json.loads(window)
        for sink in self._sinks:
            if (tell := getattr(sink, "window", None)) is not None:
                self._try(type(sink).__name__, functools.partial(tell, **told))

    def _refresh_tree(self, now_ns: int, scan: bool) -> None:
        try:
            self._tree.refresh(now_ns, scan=scan)
        except ProcessGone:
            raise
        except Exception as error:
            self._note("tree", error)

    def _try(self, part: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._note(part, error)

    def _note(self, part: str, error: Exception) -> None:
        count = self.report.errors.get(part, 0)
        self.report.errors[part] = count + 1
        self.report.last_error = f"{part}: {type(error).__name__}: {error}"
        if not count:
            _logger.warning("heflwr goes on without one reading or writing: %s", self.report.last_error)
