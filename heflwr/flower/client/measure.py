"""Measures one call of a ClientApp: samples while it runs, counters at its edges. Nothing in here ever raises.

A worker of a simulation runs one message at a time, and a process of a deployment runs one message in its life, so what
the process and its children use between the edges is what the call used, threads of BLAS libraries included.
"""

from __future__ import annotations

import copy
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from flwr.app import Context, Message

from heflwr.flower import records
from heflwr.flower.client import procfs
from heflwr.flower.client.relay import Outlet, Relay
from heflwr.flower.client.turn import Turn
from heflwr.flower.cost import Report, joules_of
from heflwr.monitor import Aggregate, Monitor, SourceUnavailable
from heflwr.monitor.high_water import Stay, high_water
from heflwr.monitor.metrics import METRICS, Kind
from heflwr.monitor.sinks import Sink

if TYPE_CHECKING:
    from heflwr.flower.client.resident import Resident
    from heflwr.flower.watch.channel import LiveChannel

T = TypeVar("T")

_logger = logging.getLogger("heflwr.flower")

OPTIONAL = ("gpu", "energy", "power", "disk", "network")
"""Groups that a machine may have no source for: the call is measured without them, and the report says so."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who runs the call.

    Attributes:
        id: Flower's node id.
        name: Its partition where it has one, else its id.
        config: What the node was started with (`--node-config`).
    """

    id: int
    name: str
    config: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, context: Context) -> Node:
        """Return the node that a context belongs to."""
        config = dict(context.node_config)
        return cls(context.node_id, str(config.get("partition-id", context.node_id)), config)


Sinks = tuple[Sink, ...] | Callable[[Node], Iterable[Sink]]
"""Where samples go: the same sinks for every node, or a function that makes a node's own."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure of each call.

    Attributes:
        groups: Groups of metrics that are on.
        sinks: Where samples go.
        interval: Seconds between samples.
        resident: Keep an agent between the calls.
        live: What that agent tells a coordinator second by second.
    """

    groups: tuple[str, ...]
    sinks: Sinks
    interval: float
    resident: bool
    live: LiveChannel | None = None


_DELTAS = frozenset(metric.name for metric in METRICS if metric.kind is Kind.DELTA)


class _Process:
    """What a process remembers from one call to the next."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.calls: set[Call] = set()
        self.relay = Relay()
        self.last_end: tuple[float, float] | None = None  # when, and the process's CPU seconds by then
        self.has_begun = False
        self.lacking: dict[str, str] = {}  # groups that this machine has no source for, and why
        self.told: set[str] = set()


_process = _Process()


def _this_process() -> _Process:
    global _process
    if _process.pid != os.getpid():  # forked since
        _process = _Process()
    return _process


class Call:
    """One call, from its constructor to report_on() or abandon().

    Attributes:
        is_reported: Its cost goes along with the reply.
        turn: What the server asks with the message; None where that could not be found out.
    """

    def __init__(
        self, settings: Settings, message: Message, context: Context, turn: Turn | None, *, is_reported: bool
    ) -> None:
        begun = time.perf_counter()
        self._settings = settings
        self._context = context
        self._seen: dict[str, Aggregate] = {}
        self.turn = turn
        self.is_reported = is_reported
        self._notes: list[str] = []
        self._cost: dict[str, float] = {}
        self._outlet: Outlet | None = None
        self._monitor: Monitor | None = None
        self._resident: Resident | None = None
        self._between: Mapping[str, float] = {}
        self._stay: Stay | None = None
        self._most_others = 0
        self._process = _this_process()
        number = self._try("round", lambda: records.round_of(message)) or 0
        self._window_name = f"round {number}" if number else ""  # where samples go, the call is a window
        self._is_in_simulation = self._try("simulation", _is_in_simulation) or False
        self._node = self._try("node", lambda: Node.of(context)) or Node(0, "")
        self._try("previous call", self._enter)
        self._try("message", lambda: self._measure_message("in", message))
        if settings.resident:
            self._try("resident agent", lambda: self._meet_resident(str(context.run_id)))
        self._try("samples", self._start_monitor)
        self._started = time.time()
        self._try("samples", self._tell_round)
        self._try("memory", self._begin_memory)
        self._counters = self._try("counters", procfs.counters) or {}
        self._begun = time.perf_counter()
        self._cost["monitor_seconds"] = self._begun - begun

    def end(self, reply: Message) -> Report:
        """Return what the call cost."""
        ended = time.perf_counter()
        self._cost["seconds"] = seconds = ended - self._begun
        self._try("counters", self._end_counters)
        self._try("memory", self._end_memory)
        self._try("samples", self._end_samples)
        self._try("message", lambda: self._measure_message("out", reply))
        self._try("overlap", self._leave)
        if "cpu_seconds" in self._cost and seconds > 0:
            self._cost["wait_share"] = max(0.0, 1.0 - self._cost["cpu_seconds"] / seconds)
        sources = self._try("sources", self._sources) or {}
        if self._resident is not None:
            self._try("resident agent", self._resident.end)
        self._cost["monitor_seconds"] += time.perf_counter() - ended
        return Report(
            cost=self._cost,
            started=self._started,
            host=platform.node(),
            name=self._node.name,
            pid=os.getpid(),
            in_simulation=self._is_in_simulation,
            sources=sources,
            notes=tuple(self._notes + (self._outlet.notes if self._outlet is not None else [])),
        )

    def report_on(self, reply: Message) -> None:
        """Put what the call cost on its reply, and what it tells of what is watched; what fails leaves it as it is."""
        if isinstance(reply, Message):
            report, turn = self._try("report", lambda: self.end(reply)), self.turn
            told = self._try("watch", lambda: turn.answer(self._context, reply, self._sample())) if turn else []
            if told:
                self._log_once("watch", f"watch: {'; '.join(told)}")
            if self.is_reported and report is not None:
                whole = replace(report, notes=(*report.notes, *[f"watch: {text}" for text in told or ()]))
                self._try("report", lambda: records.attach(reply, whole))
        else:
            self.abandon()
            self._log_once("no reply", f"the app returned {type(reply).__name__} in place of a Message")

    def abandon(self) -> None:
        """The call raised: there is no reply to report on."""
        self._try("memory", self._end_memory)
        self._try("overlap", self._leave)
        if self._monitor is not None:
            self._try("samples", lambda: self._tell_round(time.time()))
            self._try("samples", self._monitor.stop)
        if self._resident is not None:
            self._try("resident agent", self._resident.end)

    def note(self, text: str) -> None:
        """Say something in the call's report."""
        if text not in self._notes:
            self._notes.append(text)

    def _try(self, part: str, action: Callable[[], T]) -> T | None:
        """Do one thing whose failure must cost nothing but its own numbers."""
        try:
            return action()
        except Exception as error:
            note = f"{part}: {type(error).__name__}: {error}"
            self._notes.append(note)
            self._log_once(part, note)
            return None

    def _log_once(self, part: str, text: str) -> None:
        if part not in self._process.told:
            self._process.told.add(part)
            _logger.warning("heflwr goes on without measuring: %s", text)

    def _enter(self) -> None:
        with self._process.lock:
            is_first, self._process.has_begun = not self._process.has_begun, True
            if not self._process.calls:  # else the time since is no idle time
                self._look_back(is_first)
            self._process.calls.add(self)
            for call in self._process.calls:
                call._most_others = max(call._most_others, len(self._process.calls) - 1)

    def _look_back(self, is_first: bool) -> None:
        last, cpu_seconds = self._process.last_end, time.process_time()
        if is_first:
            self._cost["startup_cpu_seconds"] = cpu_seconds
            if (age := procfs.age_seconds()) is not None:
                self._cost["startup_seconds"] = age
        elif last is not None:
            self._cost["idle_seconds"] = max(0.0, time.monotonic() - last[0])
            self._cost["idle_cpu_seconds"] = max(0.0, cpu_seconds - last[1])

    def _leave(self) -> None:
        with self._process.lock:
            self._process.calls.discard(self)
            self._process.last_end = time.monotonic(), time.process_time()
        self._cost["overlapping"] = self._most_others
        if self._most_others:
            self._notes.append(f"shares its numbers with {self._most_others} other calls in the same process")

    def _measure_message(self, way: str, message: Message) -> None:
        if message.has_content():
            arrays, metrics, config = records.sizes(message.content)
            self._cost |= {
                f"arrays_bytes_{way}": arrays,
                f"metrics_bytes_{way}": metrics,
                f"config_bytes_{way}": config,
            }

    def _meet_resident(self, run: str) -> None:
        if self._is_in_simulation:
            self._notes.append("resident agent: none in a simulation, whose workers live on between messages")
            return
        from heflwr.flower.client.resident import Resident  # only who asks for an agent pays for it

        self._resident = Resident(
            f"node {self._node.name}",
            sinks=self._make_sinks(),
            groups=self._groups(),
            generation=run,
            live=self._settings.live,
        )
        between = self._resident.mark(self._window_name)
        if self._resident.note:
            self._notes.append(f"resident agent: {self._resident.note}")
        self._between = between or {}
        if between is not None:
            self._cost["idle_seconds"] = between["seconds"]
            self._cost["idle_cpu_seconds"] = between["cpu_seconds"]

    def _make_sinks(self) -> tuple[Sink, ...]:
        sinks = self._settings.sinks
        made = sinks(self._node) if callable(sinks) else sinks
        return tuple(copy.deepcopy(sink) for sink in made)  # a mod may be shared by calls that overlap

    def _groups(self) -> list[str]:
        return [group for group in self._settings.groups if group not in self._process.lacking]

    def _start_monitor(self) -> None:
        """Start sampling with whatever this machine can give."""
        sinks = () if self._resident is not None else self._try("sinks", self._make_sinks) or ()
        self._outlet = Outlet(self._process.relay, sinks) if sinks else None
        network = "host" if "network of the process" in self._process.lacking else "process"
        while True:
            groups = self._groups()
            monitor = Monitor(
                () if self._outlet is None else (self._outlet,),
                interval=self._settings.interval,
                runner="thread",
                identifier=f"node {self._node.name}",
                network=network,
                loopback=network == "process",
            )
            monitor.set_metrics(**{group: group in groups for group in ("cpu", "memory", *OPTIONAL)})
            try:
                monitor.start()
            except SourceUnavailable as error:
                if network == "process" and "network='process'" in str(error):
                    self._process.lacking["network of the process"] = str(error)
                    network = "host"
                else:
                    group, why = _lacking(groups)
                    self._process.lacking[group] = why
            else:
                break
        self._notes += [f"{group}: {why}" for group, why in self._process.lacking.items()]
        self._monitor = monitor

    def _tell_round(self, end: float | None = None) -> None:
        """Tell sinks of the call as a window, named after its round."""
        if self._window_name and self._outlet is not None:
            end = None if end is None else max(end, self._started)  # a clock may be set back
            self._outlet.window(self._window_name, self._started, end)

    def _begin_memory(self) -> None:
        self._memory = procfs.resident_bytes()
        with suppress(OSError):  # no peak of its own then
            self._stay = high_water().enter()

    def _end_memory(self) -> None:
        now = procfs.resident_bytes()
        if now is not None and self._memory is not None:
            self._cost["memory_bytes"] = now
            self._cost["memory_delta_bytes"] = now - self._memory
        if self._stay is not None:
            with suppress(OSError):
                self._cost["memory_peak_bytes"] = high_water().leave(self._stay)[0]

    def _end_counters(self) -> None:
        for name, value in procfs.counters().items():
            if name in self._counters:
                self._cost[name] = max(0.0, value - self._counters[name])

    def _end_samples(self) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._try("samples", lambda: self._tell_round(time.time()))
        self._try("samples", monitor.stop)
        if self._outlet is not None:
            self._outlet.settle()
        seen, health = monitor.describe(), monitor.health
        self._seen = seen
        self._notes += [f"samples: {health.failure}"] if health.failure else []
        self._notes += [
            f"{part}: failed {times} times, last: {health.last_error}" for part, times in health.errors.items()
        ]

        def take(column: str, metric: str, read: Callable[[Aggregate], float], scale: float = 1.0) -> None:
            if metric in seen:
                self._cost[column] = read(seen[metric]) * scale

        for name in (
            "cpu_seconds",
            "network_bytes_sent",
            "network_bytes_recv",
            "disk_bytes_read",
            "disk_bytes_written",
        ):
            take(name, name, lambda aggregate: aggregate.total)
        for name in ("cpu_usage", "gpu_usage"):
            take(name, name, lambda aggregate: aggregate.mean)
        take("gpu_memory_peak_bytes", "gpu_memory_bytes", lambda aggregate: aggregate.maximum)
        if "memory_bytes" in seen:
            peak = seen["memory_bytes"].maximum
            self._cost["memory_peak_bytes"] = max(peak, self._cost.get("memory_peak_bytes", 0.0))
            self._cost.setdefault("memory_bytes", peak)
        joules = joules_of(seen)
        if joules is not None:
            self._cost["energy_joules"] = joules
            self._cost["power_watts"] = joules / self._cost["seconds"] if self._cost["seconds"] > 0 else 0.0

    def _sample(self) -> Mapping[str, float]:
        """What a local vector is made of: each metric over the window of the call, and the columns of its cost."""
        sample = {
            name: aggregate.total if name in _DELTAS else aggregate.mean for name, aggregate in self._seen.items()
        }
        sample |= self._cost
        if "energy_joules" in sample:
            sample["energy"] = sample["energy_joules"]
        if self._resident is not None:
            sample[records.AGENT] = 1.0
        return sample | {f"{records.BETWEEN}{name}": value for name, value in self._between.items()}

    def _sources(self) -> dict[str, str]:
        known = self._monitor.health.sources if self._monitor is not None else {}
        return {group: known[group] for group in ("network", "power", "energy", "gpu") if group in known}


running: ContextVar[Call | None] = ContextVar("heflwr_call", default=None)
"""The call that this thread is in the midst of."""


def _lacking(groups: list[str]) -> tuple[str, str]:
    """Return the group that this machine has no source for, the first that cannot be measured by itself, and why.

    Of the reason the first line: a report has no room for all that was looked for.
    """
    for group in OPTIONAL:
        if group in groups:
            monitor = Monitor(runner="thread")
            monitor.set_metrics(**{name: name == group for name in ("cpu", "memory", *OPTIONAL)})
            try:
                monitor.start()
            except SourceUnavailable as error:
                return group, str(error).partition("\n")[0].removeprefix(f"{group}: ").removesuffix(" Looked for:")
            finally:
                monitor.stop()
    raise SourceUnavailable("CPU and memory cannot be measured here")


def _is_in_simulation() -> bool:
    """Return True in an actor of Ray, which is what Flower simulates with; an app's own use of Ray makes none of it."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None
