"""What samples added, summed up since the start of a run: how Prometheus and OpenTelemetry want their counters."""

from __future__ import annotations

from collections.abc import Sequence

from heflwr.monitor.metrics import Kind, Metric
from heflwr.monitor.sample import MISSING


class RunningSums:
    """Turns each sample's values into totals where a metric says what was added, and leaves the others alone."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._deltas = [index for index, metric in enumerate(metrics) if metric.kind is Kind.DELTA]
        self._sums = [0.0] * len(metrics)
        self._told = [MISSING] * len(metrics)

    def take(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return the values with totals in their places: the last one where a reading is missing, NaN before the first.

        A power rail may read below zero at idle, but a counter must never fall: it stands until the sum is past it.
        """
        totals = list(values)
        for index in self._deltas:
            value, told = values[index], self._told[index]
            if value == value:
                self._sums[index] += value
                told = self._told[index] = max(self._sums[index], 0.0 if told != told else told)
            totals[index] = told
        return tuple(totals)
