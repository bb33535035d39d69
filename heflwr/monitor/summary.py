"""A run's samples become numbers while they pass by: exact totals and time-weighted means in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heflwr.monitor.metrics import Kind, Metric, Reduction
from heflwr.monitor.sample import Sample


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What a metric did over a run or a window.

    Attributes:
        count: Samples that had a value.
        mean: Over time. For a LEVEL the trapezoid over the real time stamps, for a RATE weighted by the time each
            value stands for, for a DELTA the mean per sample.
        minimum: Smallest value.
        maximum: Largest value.
        total: Sum of a DELTA; for a LEVEL or RATE the integral over time (unit times seconds).
    """

    count: int
    mean: float
    minimum: float
    maximum: float
    total: float


class _Column:
    """Running aggregate of one metric."""

    __slots__ = ("count", "kind", "last", "maximum", "minimum", "since", "total", "weight")

    def __init__(self, kind: Kind, since: float, last: float | None) -> None:
        self.kind = kind
        self.since = since  # up to when values are accounted for, seconds
        self.last = last  # previous LEVEL, where there is one
        self.count = 0
        self.weight = 0.0
        self.total = 0.0
        self.minimum = float("inf")
        self.maximum = float("-inf")

    def add(self, elapsed: float, value: float) -> None:
        self.count += 1
        if value < self.minimum:
            self.minimum = value
        if value > self.maximum:
            self.maximum = value
        span = elapsed - self.since
        self.since = elapsed
        self.weight += span
        if self.kind is Kind.DELTA:
            self.total += value
        elif self.kind is Kind.RATE or self.last is None:
            self.total += value * span
        else:
            self.total += 0.5 * (self.last + value) * span
        self.last = value

    def aggregate(self) -> Aggregate | None:
        if not self.count:
            return None
        if self.kind is Kind.DELTA:
            mean = self.total / self.count
        elif self.weight > 0:
            mean = self.total / self.weight
        else:
            mean = self.last or 0.0
        return Aggregate(self.count, mean, self.minimum, self.maximum, self.total)


class Accumulator:
    """Adds samples up, from a baseline on; exact however many samples pass and whatever their spacing."""

    def __init__(self, metrics: Sequence[Metric], baseline: Sample | None = None) -> None:
        """Start at the run's start, or at `baseline`: a sample whose own increments belong to what came before."""
        self._metrics = tuple(metrics)
        since = baseline.elapsed if baseline else 0.0
        self._since = self._until = since
        levels = baseline.values if baseline else (None,) * len(self._metrics)
        self._columns = tuple(
            _Column(metric.kind, since, level if level == level else None)
            for metric, level in zip(self._metrics, levels, strict=True)
        )

    @property
    def seconds(self) -> float:
        """Time covered so far, seconds."""
        return self._until - self._since

    def add(self, sample: Sample) -> None:
        """Take one more sample in."""
        elapsed = self._until = sample.elapsed
        for column, value in zip(self._columns, sample.values, strict=True):
            if value == value:
                column.add(elapsed, value)

    def aggregates(self) -> dict[str, Aggregate]:
        """Return each metric's aggregate; metrics without a single value are left out."""
        pairs = ((metric.name, column.aggregate()) for metric, column in zip(self._metrics, self._columns, strict=True))
        return {name: aggregate for name, aggregate in pairs if aggregate is not None}


def summarize(metrics: Sequence[Metric], aggregates: dict[str, Aggregate]) -> dict[str, float | int]:
    """Return the documented summary: a plain number for each metric of `metrics` that has a summary key, 0 unseen."""
    summary: dict[str, float | int] = {}
    for metric in metrics:
        if metric.reduction is Reduction.NONE:
            continue
        aggregate = aggregates.get(metric.name)
        if aggregate is None:
            summary[metric.summary] = 0 if metric.whole else 0.0
        elif metric.reduction is Reduction.MEAN:
            summary[metric.summary] = aggregate.mean
        else:
            summary[metric.summary] = metric.plain(aggregate.total)
    return summary
