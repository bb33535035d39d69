"""Monitor: measures a process between start() and stop(), with any sinks and any runner."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from heflwr.monitor import arguments, running
from heflwr.monitor.health import Health
from heflwr.monitor.history import CAPACITY
from heflwr.monitor.metrics import GROUPS, Metric, documented
from heflwr.monitor.plan import Plan
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.runners import Runner
from heflwr.monitor.session import Session
from heflwr.monitor.sinks import Sink
from heflwr.monitor.summary import Aggregate, summarize
from heflwr.monitor.window import Window

if TYPE_CHECKING:
    import pandas

P = ParamSpec("P")
R = TypeVar("R")

INTERVAL_RANGE = (0.001, 1e9)
"""Seconds. Below, sampling would be a busy loop; above, no clock can wait that long."""

_RUNNERS = ("process", "thread")
_NETWORKS = ("host", "process")
_RELATIVES = ("machine", "limit")


class Monitor:
    """Measures a process and its children between start() and stop().

    Example:
        >>> with Monitor(interval=1) as monitor:
        ...     total = sum(range(1_000_000))
        >>> sorted(monitor.summary())[0]
        'avg_cpu_usage'
    """

    def __init__(
        self,
        sinks: Iterable[Sink] = (),
        *,
        interval: float = 5,
        runner: str = "process",
        identifier: str | None = None,
        pid: int | None = None,
        network: str = "host",
        interfaces: Sequence[str] | None = None,
        loopback: bool = False,
        relative_to: str = "machine",
        history: int = CAPACITY,
        machine: Machine | None = None,
    ) -> None:
        """Remember what to do; nothing is opened before start().

        Args:
            sinks: Where samples go besides this object.
            interval: Seconds between samples, from 0.001.
            runner: "process" (a child samples; it does not share the interpreter lock) or "thread".
            identifier: Who is measured, for sinks; default the host's name and a random ending.
            pid: The process to watch, default the one that calls start().
            network: "host" counts the host's interfaces, "process" the process tree's own TCP connections.
            interfaces: Names of the interfaces that count; default all but loopback.
            loopback: Count loopback too.
            relative_to: What 100 % is: "machine", or "limit" for the container's CPU quota and memory limit.
            history: Samples kept for stats() and samples(), at least 1; summary() counts all.
            machine: Where the operating system's files are; for tests.

        Raises:
            ValueError: A value out of range; the text says which are allowed.
            TypeError: A value of the wrong type.
        """
        if not isinstance(sinks, Iterable):  # one sink alone
            raise TypeError(f"sinks must be a list of sinks, such as [{type(sinks).__name__}(...)], got {sinks!r}")
        self._sinks = tuple(_sink(place, sink) for place, sink in enumerate(sinks))
        self._interval = arguments.number("interval", interval, *INTERVAL_RANGE)
        self._runner_name = arguments.choice("runner", runner, _RUNNERS)
        self._identifier = arguments.identifier(identifier)
        self._pid = None if pid is None else arguments.integer("pid", pid, 1, 2**31)
        self._network = arguments.choice("network", network, _NETWORKS)
        self._interfaces = None if interfaces is None else arguments.names("interfaces", interfaces)
        if self._interfaces is not None and network == "process":
            raise ValueError("interfaces count for network='host' only; network='process' asks the sockets")
        self._loopback = arguments.boolean("loopback", loopback)
        self._relative_to = arguments.choice("relative_to", relative_to, _RELATIVES)
        self._capacity = arguments.integer("history", history, 1, 2**40)
        self._machine = machine or Machine.here()
        self._groups = dict(GROUPS)
        self._lock = threading.RLock()
        self._session = Session(self._groups, self._capacity)
        self._watchers = 0
        self._watch_began_run = False

    @property
    def interval(self) -> float:
        """Seconds between samples."""
        return self._interval

    @property
    def identifier(self) -> str:
        """Who is measured, for sinks."""
        return self._identifier

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The columns of samples(), with their units."""
        return self._session.recording.metrics

    def set_metrics(self, **groups: bool) -> None:
        """Switch metric groups on or off, from the next start() on.

        Args:
            **groups: cpu, memory, network (on by default), power, disk, gpu, energy, threads.

        Raises:
            ValueError: An unknown name.
            TypeError: A value that is not a bool.
        """
        for name, value in groups.items():
            if name not in GROUPS:
                raise ValueError(f"there is no metric {name!r}; choose from {', '.join(GROUPS)}")
            if not isinstance(value, bool):
                raise TypeError(f"metric {name!r} must be True or False, got {value!r} ({type(value).__name__})")
        with self._lock:
            self._groups.update(groups)
            if not self._session.is_running and not self._session.recording.counts()[0]:
                self._session = Session(self._groups, self._capacity)

    def start(self) -> None:
        """Start a new run: history begins anew. Does nothing while one is running.

        Raises:
            MonitorError: What was asked for cannot be had on this machine (see `heflwr.monitor.errors`).
        """
        running.know(self)
        with self._lock:
            if self._session.is_running:
                return
            self._session = Session(self._groups, self._capacity)
            plan = Plan(
                pid=self._pid or os.getpid(),
                interval=self._interval,
                groups=dict(self._groups),
                sinks=self._sinks,
                identifier=self._identifier,
                run=os.urandom(8).hex(),
                network=self._network,
                interfaces=self._interfaces,
                loopback=self._loopback,
                relative_to=self._relative_to,
                machine=self._machine,
            )
            self._session.start(plan, _make_runner(self._runner_name))
            running.add(self)

    def stop(self) -> None:
        """End the run: one last sample, everything flushed and closed. Never raises; does nothing when not running."""
        with self._lock:
            if self._session.is_running:
                self._session.stop()
                running.discard(self)

    def stats(self) -> dict[str, list[float]]:
        """Return every sample so far, a list a metric: at any time, also before start() and after stop().

        Keys are the documented ones (cpu_usage, memory_usage, network_bytes_sent, network_bytes_recv, power_vdd_in,
        power_vdd_cpu_gpu_cv, power_vdd_soc) and those of further groups that are on. A metric that is off, or that
        this machine has no rail for, has an empty list; one that could not be read at a tick has a NaN there.
        """
        session = self._synced()
        columns = session.recording.columns()
        stats: dict[str, list[float]] = {}
        for metric in documented(session.groups):
            if metric.in_stats:
                values = columns.get(metric.name, [])
                if all(value != value for value in values):
                    values = []
                stats[metric.name] = [int(v) if v == v else v for v in values] if metric.whole else values
        return stats

    def summary(self) -> dict[str, float | int]:
        """Return the run in numbers: at any time, exact however many samples there were.

        Means are over time; cpu_usage and memory_usage in percent, bytes in bytes, total_power_* in millijoules.
        """
        session = self._synced()
        return summarize(documented(session.groups), session.recording.aggregates()[0])

    def describe(self) -> dict[str, Aggregate]:
        """Return count, mean, minimum, maximum and total of every metric of the run."""
        return self._synced().recording.aggregates()[0]

    def samples(self) -> list[dict[str, float | int | None]]:
        """Return the samples as records: sequence, time (Unix seconds), elapsed (seconds since start), every metric.

        These hold more than stats(): cpu_seconds, memory_bytes and energy_* as well. None where a value is missing.
        """
        recording = self._synced().recording
        return [sample.record(recording.metrics) for sample in recording.samples()]

    def to_pandas(self) -> pandas.DataFrame:
        """Return samples() as a data frame indexed by time (UTC). Raises ImportError where pandas is not installed."""
        import pandas

        recording = self._synced().recording
        rows = [sample.record(recording.metrics) for sample in recording.samples()]
        frame = pandas.DataFrame.from_records(rows, columns=_columns(recording.metrics))
        return frame.set_index(pandas.to_datetime(frame.pop("time"), unit="s", utc=True))

    def window(self, name: str, *, is_told: bool = True) -> Window:
        """Return a context manager for a named section of the run; sections may nest and overlap.

        Args:
            name: What it is; the first 256 characters go to sinks.
            is_told: Tell sinks of it: a collector shades its time.

        Example:
            >>> monitor = Monitor(runner="thread")
            >>> with monitor, monitor.window("epoch 3") as epoch:
            ...     total = sum(range(1_000_000))
            >>> epoch.summary()["avg_cpu_usage"] > 0
            True
        """
        return Window(name, lambda: self._session, is_told=is_told)

    def watch(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function: the monitor runs while a call is on, and each call is a window named after the function.

        Generator functions and coroutine functions are watched from their first step to their end. Where calls overlap,
        the run ends with the last of them; a run that start() began goes on.

        Raises:
            TypeError: An asynchronous generator function.
        """
        if inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is an asynchronous generator; watch what consumes it instead")
        watched: Callable[..., Any]
        if inspect.iscoroutinefunction(function):

            async def watched(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._watching(function.__qualname__):
                    return await function(*args, **kwargs)

        elif inspect.isgeneratorfunction(function):

            def watched(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._watching(function.__qualname__):
                    return (yield from function(*args, **kwargs))

        else:

            def watched(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._watching(function.__qualname__):
                    return function(*args, **kwargs)

        return functools.wraps(function)(watched)

    @contextmanager
    def _watching(self, name: str) -> Iterator[None]:
        with self._lock:
            if not self._session.is_running:
                self.start()
                self._watch_began_run = True
            self._watchers += 1
        try:
            with self.window(name):
                yield
        finally:
            with self._lock:
                self._watchers -= 1
                if self._watch_began_run and not self._watchers:
                    self._watch_began_run = False
                    self.stop()

    @property
    def health(self) -> Health:
        """How the monitoring itself fares."""
        session = self._synced()
        report = session.recording.report
        samples, forgotten = session.recording.counts()
        return Health(
            is_running=session.is_running,
            is_complete=not session.recording.failure,
            failure=session.recording.failure,
            samples=samples,
            forgotten=forgotten,
            missed_ticks=report.missed_ticks,
            errors=dict(report.errors),
            last_error=report.last_error,
            sources=dict(report.sources),
            sinks=list(report.sinks),
            limits=dict(report.limits),
        )

    @property
    def failure(self) -> str:
        """Why the run ended before stop(), or "" if it did not."""
        return self._session.recording.failure

    @property
    def port(self) -> int | None:
        """The port that a Prometheus sink listens on, None where there is none."""
        return next((facts["port"] for facts in self._session.recording.report.sinks if "port" in facts), None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _synced(self) -> Session:
        session = self._session
        session.sync()
        return session

    def let_go(self) -> None:
        """Forget, in a forked child, a run that belongs to the parent. Called by the fork itself."""
        self._lock = threading.RLock()  # a thread that did not come along may hold the old one
        self._watchers, self._watch_began_run = 0, False
        if self._session.let_go():
            self._session = Session(self._groups, self._capacity)


def _make_runner(name: str) -> Runner:
    if name == "thread":
        from heflwr.monitor.runners.thread import ThreadRunner

        return ThreadRunner()
    from heflwr.monitor.runners.process import ProcessRunner

    return ProcessRunner()


def _columns(metrics: Sequence[Metric]) -> list[str]:
    return ["sequence", "time", "elapsed", *(metric.name for metric in metrics)]


def _sink(place: int, value: Sink) -> Sink:
    """Return `value` if it has the shape of a sink; raise TypeError otherwise."""
    lacking = [part for part in ("flush_seconds", "open", "write", "close", "facts") if not hasattr(value, part)]
    if lacking:
        raise TypeError(f"sinks[{place}] is no sink: {value!r} lacks {', '.join(lacking)} (see heflwr.monitor.sinks)")
    return value
