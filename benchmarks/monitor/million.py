"""A long run without the waiting: made-up samples fed to a recording, and its summary held against exact sums.

Runs inside the watched process.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from heflwr.monitor.history import CAPACITY
from heflwr.monitor.metrics import DEFAULT_GROUPS, GROUPS, Kind, in_groups
from heflwr.monitor.recording import Recording
from heflwr.monitor.sample import Sample

_METRICS = in_groups(dict.fromkeys(GROUPS, False) | DEFAULT_GROUPS)
_INTERVAL = 0.01


def feed(samples: int) -> tuple[Recording, dict[str, float]]:
    """Feed a recording; return it, and the largest relative error of any mean or total of its summary."""
    recording = Recording(_METRICS, CAPACITY)
    for sample in _samples(samples):
        recording.sample(sample, 0)
    aggregates = recording.aggregates()[0]
    worst = 0.0
    for index, metric in enumerate(_METRICS):
        total = math.fsum(_parts(samples, index, metric.kind))
        mean = total / (samples if metric.kind is Kind.DELTA else _elapsed(samples))
        for expected, actual in ((total, aggregates[metric.name].total), (mean, aggregates[metric.name].mean)):
            worst = max(worst, abs(actual - expected) / abs(expected))
    return recording, {"samples": recording.counts()[0], "forgotten": recording.counts()[1], "worst_error": worst}


def _elapsed(count: int) -> float:
    return count * _INTERVAL


def _samples(count: int) -> Iterator[Sample]:
    """Yield the same samples at every call: values as they come in life, none of them round."""
    chance = random.Random(1)
    for sequence in range(count):
        values = tuple(
            float(chance.randrange(1 << 30)) if metric.whole else chance.random() * 100 for metric in _METRICS
        )
        elapsed = _elapsed(sequence + 1)
        yield Sample(sequence, 1.7e9 + elapsed, elapsed, values)


def _parts(count: int, index: int, kind: Kind) -> Iterator[float]:
    """Yield what each sample adds to a metric's total: the value, or its integral since the sample before."""
    before, last = 0.0, None
    for sample in _samples(count):
        value, span = sample.values[index], sample.elapsed - before
        if kind is Kind.DELTA:
            yield value
        elif kind is Kind.RATE or last is None:
            yield value * span
        else:
            yield (value + last) * 0.5 * span
        before, last = sample.elapsed, value
