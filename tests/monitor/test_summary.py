"""Numbers out of samples, held against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heflwr.monitor.history import History
from heflwr.monitor.metrics import GROUPS, METRICS, Kind, Metric, Reduction, documented
from heflwr.monitor.sample import MISSING, Sample
from heflwr.monitor.summary import Accumulator, summarize

BY_NAME = {metric.name: metric for metric in METRICS}
RATE, LEVEL, DELTA = BY_NAME["cpu_usage"], BY_NAME["power_vdd_in"], BY_NAME["network_bytes_sent"]

gaps = st.floats(0.001, 100)
values = st.floats(0, 1e9) | st.just(MISSING)
runs = st.lists(st.tuples(gaps, values, values, values), min_size=1, max_size=30)


def samples_of(run: list[tuple[float, float, float, float]]) -> list[Sample]:
    samples, elapsed = [], 0.0
    for sequence, (gap, *row) in enumerate(run):
        elapsed += gap
        samples.append(Sample(sequence, 1.7e9 + elapsed, elapsed, tuple(row)))
    return samples


def exact(kind: Kind, points: list[tuple[float, float]]) -> tuple[Fraction, Fraction]:
    """Return total and weight by definition: the integral of the curve through the points, from 0 on."""
    total = weight = at = Fraction(0)
    last: Fraction | None = None
    for elapsed, value in points:
        if math.isnan(value):
            continue
        span, now = Fraction(elapsed) - at, Fraction(value)
        if kind is Kind.DELTA:
            total += now
        elif kind is Kind.RATE or last is None:
            total += now * span
        else:
            total += (last + now) / 2 * span
        at, last, weight = Fraction(elapsed), now, weight + span
    return total, weight


@given(runs)
def test_totals_and_means_are_those_of_exact_arithmetic(run: list[tuple[float, float, float, float]]) -> None:
    """Whatever the spacing and whatever is missing: levels by trapezoid, rates by time, increments summed."""
    metrics = (RATE, LEVEL, DELTA)
    accumulator = Accumulator(metrics)
    samples = samples_of(run)
    for sample in samples:
        accumulator.add(sample)
    aggregates = accumulator.aggregates()
    for index, metric in enumerate(metrics):
        points = [(sample.elapsed, sample.values[index]) for sample in samples]
        present = [value for _, value in points if value == value]
        if not present:
            assert metric.name not in aggregates
            continue
        total, weight = exact(metric.kind, points)
        aggregate = aggregates[metric.name]
        assert aggregate.total == pytest.approx(float(total), rel=1e-9)
        assert (aggregate.count, aggregate.minimum, aggregate.maximum) == (len(present), min(present), max(present))
        if metric.kind is not Kind.DELTA:
            assert aggregate.mean == pytest.approx(float(total / weight), rel=1e-9)


@given(runs, st.data())
def test_windows_side_by_side_add_up_to_the_run(
    run: list[tuple[float, float, float, float]], data: st.DataObject
) -> None:
    """Cut anywhere at samples, the parts' totals are the whole's."""
    metrics = (RATE, LEVEL, DELTA)
    samples = [s._replace(values=tuple(v if v == v else 1.0 for v in s.values)) for s in samples_of(run)]
    cut = data.draw(st.integers(0, len(samples) - 1))
    whole, before, after = Accumulator(metrics), Accumulator(metrics), Accumulator(metrics, baseline=samples[cut])
    for index, sample in enumerate(samples):
        whole.add(sample)
        (before if index <= cut else after).add(sample)
    for metric in metrics:
        parts = [part.aggregates()[metric.name].total for part in (before, after) if part.seconds > 0 or part is before]
        assert whole.aggregates()[metric.name].total == pytest.approx(sum(parts), rel=1e-9)


def test_energy_follows_the_real_time_stamps() -> None:
    """A ramp of power sampled unevenly: the integral is exact, power times the nominal interval would not be."""
    accumulator = Accumulator((LEVEL,))
    for sequence, elapsed in enumerate((0.0, 0.1, 0.5, 2.0, 2.1, 10.0)):
        accumulator.add(Sample(sequence, 0.0, elapsed, (1000.0 * elapsed,)))
    assert accumulator.aggregates()["power_vdd_in"].total == pytest.approx(1000.0 * 10.0**2 / 2)


def test_a_summary_of_nothing_is_zeros_under_the_documented_keys() -> None:
    """Plain numbers: int for counts, float for the rest."""
    summary = summarize(documented(GROUPS), {})
    assert set(summary.values()) == {0}
    assert type(summary["total_network_bytes_sent"]) is int
    assert type(summary["avg_cpu_usage"]) is float


def test_history_forgets_the_oldest_and_never_more_than_it_must() -> None:
    """At most the capacity is shown, and the rest is counted."""
    history = History((DELTA,), 100)
    for sequence in range(1000):
        history.add(Sample(sequence, 0.0, float(sequence), (float(sequence),)))
        shown = history.column(0)
        assert shown == [float(n) for n in range(max(0, sequence - 99), sequence + 1)]
    assert [sample.sequence for sample in history] == list(range(900, 1000))
    assert history.forgotten + len(history) == 1000


def test_every_metric_has_one_name_and_says_what_it_is() -> None:
    """The table has no duplicates, counters are increments, and each key of summary() is made by one metric."""
    names = [metric.name for metric in METRICS]
    keys = [metric.summary for metric in METRICS if metric.summary]
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)
    for metric in METRICS:
        assert (metric.reduction is Reduction.NONE) == (not metric.summary)
        assert metric.help.endswith(".")
        assert isinstance(metric, Metric)
