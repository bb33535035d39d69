"""One sample, and the run that it belongs to: the two records that cross every border inside the monitor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from heflwr.monitor.metrics import Metric

MISSING = float("nan")
"""Stands in a sample where a source had no value at that tick."""


class Sample(NamedTuple):
    """All metrics at one moment.

    Attributes:
        sequence: 0, 1, 2, ... within the run.
        time: Unix time, seconds.
        elapsed: Seconds since the run started, by the monotonic clock.
        values: One number a metric of the run, in the run's order; NaN where the source had none.
    """

    sequence: int
    time: float
    elapsed: float
    values: tuple[float, ...]

    def record(self, metrics: tuple[Metric, ...]) -> dict[str, float | int | None]:
        """Return the sample as a flat mapping: time, elapsed, sequence and a value a metric (None where missing)."""
        row: dict[str, float | int | None] = {
            "sequence": self.sequence,
            "time": self.time,
            "elapsed": self.elapsed,
        }
        for metric, value in zip(metrics, self.values, strict=True):
            row[metric.name] = metric.plain(value) if value == value else None
        return row


@dataclass(frozen=True, slots=True)
class Run:
    """What all samples of one start() have in common; every sink gets it when it opens.

    Attributes:
        identifier: Who is measured, in the user's words.
        run: Random id of this start(), so that a restarted client is never mixed up with its former self.
        pid: The process that is measured.
        started: Unix time of start(), seconds.
        interval: Seconds between samples.
        metrics: The columns of every sample.
        host: Name of the machine.
        versions: Of heflwr, Python and the platform.
        sources: Where the numbers come from, a group a key.
        limits: CPU cores and memory bytes the container allows, where it does (see `probes.limits`).
    """

    identifier: str
    run: str
    pid: int
    started: float
    interval: float
    metrics: tuple[Metric, ...]
    host: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
