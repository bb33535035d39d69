"""A run's samples in compact arrays, up to a stated number; past it the oldest go and the rest stay."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from heflwr.monitor.metrics import Metric
from heflwr.monitor.sample import Sample

CAPACITY = 1_000_000
"""Samples kept by default: 80 MB with the default metrics, eleven days at 1 Hz."""

_SLACK = 16
"""Trim a 1/16 of the capacity at a time, so that forgetting costs nothing per sample."""


class History:
    """The latest samples of a run. Not locked: its owner is."""

    def __init__(self, metrics: Sequence[Metric], capacity: int) -> None:
        self.metrics = tuple(metrics)
        self.forgotten = 0
        self._capacity = capacity
        self._rows = array("d")
        self._width = 3 + len(self.metrics)

    def __len__(self) -> int:
        return len(self._rows) // self._width

    def add(self, sample: Sample) -> None:
        """Append a sample; forget the oldest once over capacity."""
        self._rows.extend((sample.sequence, sample.time, sample.elapsed, *sample.values))
        if len(self._rows) >= (self._capacity + max(1, self._capacity // _SLACK)) * self._width:
            excess = len(self) - self._capacity
            del self._rows[: excess * self._width]
            self.forgotten += excess

    def column(self, index: int) -> list[float]:
        """Return one metric's values, oldest first, NaN where missing; at most the capacity."""
        values = self._rows[3 + index :: self._width]
        return values[-self._capacity :].tolist()

    def __iter__(self) -> Iterator[Sample]:
        rows, width = self._rows, self._width
        for at in range(max(0, len(self) - self._capacity) * width, len(rows), width):
            sequence, time, elapsed, *values = rows[at : at + width]
            yield Sample(int(sequence), time, elapsed, tuple(values))
