"""The measurements, one function each. Candidates take turns, so that a busy spell of the machine hits all alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from .candidates import ENTRIES
from .peers import Environments
from .watched import CandidateFailed, Watched

Rows = dict[str, dict[str, Any]]
"""What was measured, a candidate a key; lists hold one value a round."""

_SETTLE_SECONDS = 0.3
"""After a candidate was imported, before its idle process is measured."""

_SLOW_SECONDS = 2.0
"""A candidate that needs longer to warm up lives but once: there are others waiting."""

_CHILDREN = 10


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: Lives of heflwr, the floor and the psutil loop; of peers and of heflwr's other destinations one less, of
            the slowest to warm up one.
        window_seconds: Seconds of a CPU window, an interval (seconds) a key.
        windows: Windows at the interval of one second, all candidates at once.
        reading_rounds: Turns of each kind of reading.
        reading_calls: Readings in a turn.
        import_rounds: Fresh interpreters a candidate.
        restarts: Starts and stops for the latencies (of peers a quarter, of the slowest to warm up one).
        pairs: Pairs of workload runs with and without heflwr (peers a third).
        work_seconds: Length of one workload run.
        samples: Samples of the made-up long run.
        patience: Share of the usual waits (to settle, to warm up) that is kept.
    """

    rounds: int
    window_seconds: dict[float, float]
    windows: int
    reading_rounds: int
    reading_calls: int
    import_rounds: int
    restarts: int
    pairs: int
    work_seconds: float
    samples: int
    patience: float


FULL = Effort(3, {1.0: 5.0, 0.1: 2.0, 0.01: 2.0}, 4, 30, 300, 7, 10, 24, 0.35, 1_000_000, 1.0)
QUICK = Effort(1, {1.0: 4.0, 0.1: 2.0, 0.01: 2.0}, 2, 10, 100, 3, 4, 6, 0.2, 200_000, 1.0)
SMOKE = Effort(1, {1.0: 0.5, 0.1: 0.3, 0.01: 0.3}, 1, 2, 20, 1, 1, 1, 0.02, 2_000, 0.2)


@dataclass
class Bench:
    """What all measurements share.

    Attributes:
        names: Candidates that take part.
        effort: How long to measure.
        environments: Where they run.
        scratch: Where they may write.
        collector: Address of a server that takes whatever is posted to it.
        failed: Why a candidate did not get through a measurement, a line each.
    """

    names: Sequence[str]
    effort: Effort
    environments: Environments
    scratch: Path
    collector: str
    failed: list[str] = field(default_factory=list)

    def watch(self, name: str) -> Watched:
        return Watched(name, self.environments, self.scratch, self.collector)

    def note(self, name: str, error: CandidateFailed) -> None:
        self.failed.append(f"{ENTRIES[name].label}: {error}")


def measure_readings(bench: Bench) -> dict[str, dict[str, list[float]]]:
    """One reading of cpu, memory and network, alone and with ten children: CPU microseconds, one value a turn."""
    effort = bench.effort
    readings = {}
    for children in (0, _CHILDREN):
        with bench.watch("nothing") as watched:
            calls = effort.reading_calls if not children else max(10, effort.reading_calls // 5)
            answer = watched.tell("readings", children=children, rounds=effort.reading_rounds, calls=calls)
            readings[f"{children} children"] = answer
    return readings


def measure_imports(bench: Bench) -> Rows:
    """Seconds that importing each monitor takes in a fresh interpreter."""
    modules = {name: ENTRIES[name].module for name in bench.names if ENTRIES[name].module}
    rows: Rows = {name: {"seconds": []} for name in modules}
    for _ in range(bench.effort.import_rounds):
        for name, module in modules.items():
            python = sys.executable if ENTRIES[name].home == "own" else bench.environments.python
            code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
            done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                rows[name]["seconds"].append(float(done.stdout))
    return {name: row for name, row in rows.items() if row["seconds"]}


def measure_together(bench: Bench) -> Rows:
    """CPU at an interval of one second, every candidate at the same time in a process of its own.

    Together they take a few hundredths of a CPU, and each window is the same for all.
    """
    interval = 1.0
    rows: Rows = {}
    with ExitStack() as stack:
        alive: dict[str, Watched] = {}
        idle: dict[str, float] = {}
        for name in bench.names:
            try:
                watched = stack.enter_context(bench.watch(name))
                watched.tell("load")
                alive[name] = watched
            except CandidateFailed as error:
                bench.note(name, error)
        for name, seconds in _cpu_rates(
            alive, _SETTLE_SECONDS * bench.effort.patience, bench.effort.window_seconds[interval]
        ).items():
            idle[name] = seconds
        for name, watched in list(alive.items()):
            try:
                watched.tell("start", interval=interval)
            except CandidateFailed as error:
                bench.note(name, error)
                del alive[name]
        warm = max(ENTRIES[name].warm_seconds for name in alive) * bench.effort.patience
        rows = {name: {"cpu": [], "idle": idle[name]} for name in alive}
        for _ in range(bench.effort.windows):
            for name, rate in _cpu_rates(alive, warm, bench.effort.window_seconds[interval]).items():
                rows[name]["cpu"].append(rate - idle[name])
            warm = 0.0
        for watched in alive.values():
            watched.tell("stop")
    return rows


def _cpu_rates(alive: dict[str, Watched], settle: float, seconds: float) -> dict[str, float]:
    """Return CPU milliseconds a second of each process over a window that begins after `settle` seconds."""
    time.sleep(settle)
    before = {name: (watched.cpu_seconds(), time.monotonic()) for name, watched in alive.items()}
    time.sleep(seconds)
    rates = {}
    for name, watched in alive.items():
        cpu, at = watched.cpu_seconds(), time.monotonic()
        rates[name] = (cpu - before[name][0]) / (at - before[name][1]) * 1000
    return rates


def measure_lives(bench: Bench, names: Iterable[str], rounds: int, intervals: Sequence[float]) -> Rows:
    """Whole lives of each candidate, one after the other: start, CPU, samples and memory at each interval, stop."""
    rows: Rows = {}
    for turn in range(rounds):
        for name in names:
            if turn >= _fewer(name, rounds, max(1, rounds - 1)):
                continue
            try:
                life = _live(bench, name, intervals)
            except CandidateFailed as error:
                bench.note(name, error)
                continue
            for key, value in life.items():
                rows.setdefault(name, {}).setdefault(key, []).append(value)
    return rows


def _fewer(name: str, times: int, times_of_peers: int) -> int:
    """Return how many times a candidate takes its turn."""
    entry = ENTRIES[name]
    if entry.home == "own":
        return times
    return 1 if entry.warm_seconds > _SLOW_SECONDS else times_of_peers


def _live(bench: Bench, name: str, intervals: Sequence[float]) -> dict[str, Any]:
    life: dict[str, Any] = {}
    warm, settle = ENTRIES[name].warm_seconds * bench.effort.patience, _SETTLE_SECONDS * bench.effort.patience
    with bench.watch(name) as watched:
        bare = watched.memory()
        watched.tell("load")
        idle = _cpu_rates({name: watched}, settle, settle)[name]
        for turn, interval in enumerate(intervals):
            watched.tell("start", interval=interval)
            time.sleep(warm)
            first = watched.tell("count")
            rate = _cpu_rates({name: watched}, 0.0, bench.effort.window_seconds[interval])[name]
            last = watched.tell("count")
            if not turn:
                memory = watched.memory()
                life["added_process"] = memory.process - bare.process
                life["added_children"] = memory.children
            stopped = watched.tell("stop")
            at = f"{interval:g}"
            life[f"cpu {at}"] = rate - idle
            life[f"samples {at}"] = (last["count"] - first["count"]) / (last["time"] - first["time"])
            gaps = _gaps(stopped["stamps"], first["time"], last["time"])
            if gaps:
                life[f"period {at}"] = sum(gaps) / len(gaps)
                life[f"jitter {at}"] = _quantile([abs(gap - interval) for gap in gaps], 0.99)
    return life


def _gaps(stamps: list[float], first: float, last: float) -> list[float]:
    within = [stamp for stamp in stamps if first <= stamp <= last]
    return [later - earlier for earlier, later in pairwise(within)]


def measure_latencies(bench: Bench) -> Rows:
    """Seconds that start() and stop() take at an interval of one second, and from start() to the first sample."""
    rows: Rows = {}
    for name in bench.names:
        restarts = _fewer(name, bench.effort.restarts, max(1, bench.effort.restarts // 4))
        row: dict[str, list[float]] = {"start": [], "stop": [], "first": []}
        try:
            with bench.watch(name) as watched:
                watched.tell("load")
                for turn in range(restarts):
                    row["start"].append(watched.tell("start", interval=1.0)["seconds"])
                    time.sleep(0.1 + 0.8 * (turn + 0.5) / restarts)  # anywhere between two samples
                    stopped = watched.tell("stop")
                    row["stop"].append(stopped["seconds"])
                    if stopped["first"] is not None:
                        row["first"].append(stopped["first"])
            rows[name] = row
        except CandidateFailed as error:
            bench.note(name, error)
    return rows


def measure_slowdown(bench: Bench, interval: float, names: Sequence[str]) -> Rows:
    """How much longer a fixed computation takes with each monitor than without: ratios of paired runs.

    The runs of a pair follow each other, in either order by turns, and all candidates take turns. "nothing" is the
    same without a monitor in either run: the machine's own noise.
    """
    effort = bench.effort
    rows: Rows = {name: {"ratios": []} for name in names}
    with ExitStack() as stack:
        alive: dict[str, Watched] = {}
        for name in names:
            try:
                watched = stack.enter_context(bench.watch(name))
                watched.tell("load")
                alive[name] = watched
            except CandidateFailed as error:
                bench.note(name, error)
        turns = _calibrate(alive["nothing"], effort.work_seconds)
        for pair in range(effort.pairs):
            for name, watched in alive.items():
                if ENTRIES[name].home != "own" and pair % 3:
                    continue
                seconds = {}
                for monitored in (True, False) if pair % 2 else (False, True):
                    if monitored:
                        watched.tell("start", interval=interval)
                    seconds[monitored] = watched.tell("work", turns=turns)["seconds"]
                    if monitored:
                        watched.tell("stop")
                rows[name]["ratios"].append(seconds[True] / seconds[False])
    return {name: row for name, row in rows.items() if row["ratios"]}


def _calibrate(watched: Watched, seconds: float) -> int:
    turns = 200_000
    watched.tell("work", turns=turns)
    return max(1, round(turns * seconds / watched.tell("work", turns=turns)["seconds"]))


def measure_million(bench: Bench) -> dict[str, float]:
    """Memory of a long run's history, bytes, and the largest relative error of its summary."""
    with bench.watch("heflwr-thread") as watched:
        watched.tell("load")
        before = watched.memory().process
        facts: dict[str, float] = watched.tell("million", samples=bench.effort.samples)
        facts["bytes"] = watched.memory().process - before
    return facts


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
