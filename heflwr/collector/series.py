"""Samples over time, as few numbers as a screen can show: from rollups where the steps are long, else from raw ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from heflwr.collector.metrics import adds_up, unit_of
from heflwr.collector.spans import STEPS, Span, of_step
from heflwr.collector.store import reading, rolling, rollups
from heflwr.collector.store.chunks import plain
from heflwr.collector.store.database import Connection
from heflwr.collector.store.reading import Columns, RunRow
from heflwr.collector.store.rollups import LEVELS

RAW_MAX = 500_000
"""Most raw samples that an answer is made of: a second's work. Beyond, steps are at least a minute."""

RUNS_MAX = 50
"""Most runs in an answer of series."""


@dataclass(slots=True)
class Steps:
    """One metric of one run, a number a step."""

    counts: list[float]
    lows: list[float]
    sums: list[float]
    highs: list[float] = field(default_factory=list)

    @classmethod
    def empty(cls, count: int) -> Steps:
        return cls([0.0] * count, [nan] * count, [0.0] * count, [nan] * count)

    def add(self, at: int, count: float, low: float, total: float, high: float) -> None:
        if self.counts[at]:
            self.lows[at] = min(self.lows[at], low)
            self.highs[at] = max(self.highs[at], high)
        else:
            self.lows[at], self.highs[at] = low, high
        self.counts[at] += count
        self.sums[at] += total

    def means(self) -> list[float | None]:
        return [total / count if count else None for total, count in zip(self.sums, self.counts, strict=True)]


def series(
    reader: Connection, runs: Sequence[RunRow], metrics: Sequence[str], span: Span, is_step_given: bool
) -> dict[str, Any]:
    """Return the answer of /api/v1/series."""
    if span.level is None:
        raw = sum(reading.count_raw(reader, run.id, span.start, span.end) for run in runs)
        if raw > RAW_MAX and not is_step_given:
            span = of_step(span.start, span.end, STEPS[0])
    found = []
    for run in runs:
        for metric, steps in sorted(steps_of(reader, run.id, span, metrics).items()):
            found.append(
                {
                    "identifier": run.identifier,
                    "run": run.run,
                    "metric": metric,
                    "unit": unit_of(metric, run.about.get("units")),
                    "count": [int(count) for count in steps.counts],
                    "min": [plain(low) for low in steps.lows],
                    "mean": steps.means(),
                    "max": [plain(high) for high in steps.highs],
                }
            )
    return {"start": span.start, "step": span.step, "series": found}


def steps_of(reader: Connection, run_id: int, span: Span, metrics: Sequence[str] = ()) -> dict[str, Steps]:
    """Return the steps of a run's metrics (all where none are named); only metrics that have a value in the span."""
    found: dict[str, Steps] = {}
    columns = Columns(reader)
    for start, columns_id, rollup in _pieces(reader, run_id, span):
        at = span.at(start)
        if not 0 <= at < span.count:
            continue
        for place, metric in enumerate(columns[columns_id]):
            if rollup.counts[place] and (not metrics or metric in metrics):
                if metric not in found:
                    found[metric] = Steps.empty(span.count)
                found[metric].add(at, rollup.counts[place], rollup.lows[place], rollup.sums[place], rollup.highs[place])
    return found


def _pieces(reader: Connection, run_id: int, span: Span) -> Iterable[tuple[float, int, rollups.Rollup]]:
    """Yield (a time within its step, columns, rollup)."""
    level = span.level
    if level is not None:
        first, last = int(span.start // level), int((span.end - 1) // level)
        for bucket, columns_id, rollup in reading.buckets_of(reader, run_id, level, first, last):
            yield bucket * level, columns_id, rollup
        return
    for columns_id, chunk in reading.chunks_of(reader, run_id, span.start, span.end):
        for at, rollup in rollups.of_steps(chunk, span.at).items():
            yield span.start + (at + 0.5) * span.step, columns_id, rollup


def aggregate(
    reader: Connection, tails: rolling.Tails, runs: Sequence[RunRow], metric: str, function: str, span: Span
) -> list[float | None]:
    """Return one number a step: the function over the clients' means. The span has steps of a minute or more."""
    level = span.level or LEVELS[0]
    names = Columns(reader)
    clients: dict[str, tuple[list[float], list[float]]] = {}
    of_run = {run.id: run.identifier for run in runs}

    def add(run_id: int, buckets: Iterable[int], numbers: Iterable[tuple[float, ...]]) -> None:
        if of_run[run_id] not in clients:
            clients[of_run[run_id]] = ([0.0] * span.count, [0.0] * span.count)
        counts, sums = clients[of_run[run_id]]
        for bucket, (count, total) in zip(buckets, numbers, strict=True):
            at = (bucket - first) // ratio
            counts[at] += count
            sums[at] += total

    first, ratio = round(span.start) // level, round(span.step) // level
    last = first + span.count * ratio - 1
    for run in runs:
        for columns_id, buckets, packed in reading.packed_buckets(reader, run.id, level, first, last):
            if metric in names[columns_id]:
                width, place = len(names[columns_id]), names[columns_id].index(metric)
                add(run.id, buckets, rollups.counts_and_sums(packed, width, [place]))
    with tails.at(reader, level) as tail:
        for (run_id, columns_id), fresh in tail.items():
            if run_id in of_run and metric in names[columns_id]:
                place = names[columns_id].index(metric)
                inside = {bucket: rollup for bucket, rollup in fresh.items() if first <= bucket <= last}
                add(run_id, inside, [(rollup.counts[place], rollup.sums[place]) for rollup in inside.values()])
    reduce = FUNCTIONS[function]
    means: list[list[float]] = [[] for _ in range(span.count)]
    for counts, sums in clients.values():
        for step, count, total in zip(means, counts, sums, strict=True):
            if count:
                step.append(total / count)
    return [reduce(values) if values else None for values in means]


def _quantile(share: float) -> Callable[[list[float]], float]:
    def quantile(values: list[float]) -> float:
        values = sorted(values)
        place = share * (len(values) - 1)
        below = int(place)
        above = min(below + 1, len(values) - 1)
        return values[below] + (place - below) * (values[above] - values[below])

    return quantile


FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "mean": lambda values: sum(values) / len(values),
    "min": min,
    "max": max,
    "sum": sum,
    "p50": _quantile(0.5),
    "p95": _quantile(0.95),
}


def summaries(reader: Connection, run: RunRow) -> list[dict[str, Any]]:
    """Return the whole run, a metric each."""
    wholes: dict[str, rollups.Rollup] = {}
    columns = Columns(reader)
    level = LEVELS[-1]
    for _, columns_id, rollup in reading.buckets_of(reader, run.id, level, 0, 1 << 40):
        for place, metric in enumerate(columns[columns_id]):
            if rollup.counts[place]:
                only = rollup.only(place)
                if metric in wholes:
                    wholes[metric].merge(only)
                else:
                    wholes[metric] = only
    return [
        {
            "identifier": run.identifier,
            "run": run.run,
            "metric": metric,
            "unit": unit_of(metric, run.about.get("units")),
            "count": int(whole.counts[0]),
            "mean": whole.sums[0] / whole.counts[0],
            "min": plain(whole.lows[0]),
            "max": plain(whole.highs[0]),
            "last": plain(whole.lasts[0]),
            "total": plain(whole.sums[0]) if adds_up(metric) else None,
        }
        for metric, whole in sorted(wholes.items())
    ]
