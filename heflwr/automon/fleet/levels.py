"""Levels of a fleet: means, totals, time to exhaustion, the share of nodes past a threshold. All zones are exact."""

from __future__ import annotations

import numpy as np

from heflwr.automon.box import Box
from heflwr.automon.fleet.measure import Measure, box_of, linear, unchanged, unit_of
from heflwr.automon.forms import Ratio
from heflwr.automon.function import Function
from heflwr.automon.zones.zone import Floats

MILLIWATTS = 1e-3
"""Watts in a milliwatt; monitors report milliwatts."""


def mean(metric: str, unit: str = "", *, bound: float | None = None) -> Measure:
    """The mean of a metric over the live nodes: x = [v], f = x[0], in the metric's unit."""
    unit = unit or unit_of(metric)
    return Measure(f"mean {metric}", unit, (metric,), unchanged, linear([1.0]), box_of(metric), bound)


def total(
    *metrics: str, nodes: int | None = None, unit: str = "", scale: float = 1.0, bound: float | None = None
) -> Measure:
    """The sum of some metrics over a fleet: x = [sum of v], f = nodes scale x[0].

    Args:
        metrics: Of one unit.
        nodes: How many nodes there are, >= 1; None: as many as are live, which who asks the nodes has to count (a
            Flower server does; elsewhere watch `mean`, and multiply its value and its bound by `live`).
        unit: Of the result.
        scale: From the metrics' unit to that of the result.
        bound: Of the result.
    """
    if nodes is not None and nodes < 1:
        raise ValueError(f"nodes must be >= 1, got {nodes}")
    if not metrics:
        raise ValueError("total needs the name of at least one metric, got none")
    name = f"total {' + '.join(metrics)}"
    parts = box_of(*metrics)
    span = Box(parts.lower.sum(keepdims=True), parts.upper.sum(keepdims=True))
    function = linear([(1 if nodes is None else nodes) * scale])
    return Measure(name, unit or unit_of(metrics[0]), metrics, _added, function, span, bound, is_total=nodes is None)


def _added(values: Floats) -> Floats:
    total: Floats = values.sum(keepdims=True)
    return total


def total_network(nodes: int) -> Measure:
    """Bytes sent and received by all of `nodes` nodes since their samples before."""
    return total("network_bytes_sent", "network_bytes_recv", nodes=nodes, unit="bytes")


def total_power(nodes: int, metric: str = "power_vdd_in") -> Measure:
    """Power of all of `nodes` nodes, watts, from a metric in milliwatts."""
    return total(metric, nodes=nodes, unit="watts", scale=MILLIWATTS)


def time_to_exhaustion(
    energy: str = "battery_joules", power: str = "power_vdd_in", *, bound: float | None = None
) -> Measure:
    """How long the fleet's energy lasts at its present power: x = [E, P], f = x[0] / x[1], seconds.

    The ratio of the means is that of the totals. Some node must draw power.

    Args:
        energy: Metric with the energy that is left, joules. No probe reads it: add it to the sample.
        power: Metric with the power that is drawn, milliwatts, >= 0.
        bound: Of f, seconds.
    """

    def embed(values: Floats) -> Floats:
        left, drawn = float(values[0]), float(values[1]) * MILLIWATTS
        if drawn < 0 or left < 0:
            raise ValueError(f"{energy} and {power} must be >= 0, got {values[0]} and {values[1]}")
        return np.array([left, drawn])

    ratio = Ratio(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    span = Box(np.zeros(2), np.full(2, np.inf))
    return Measure("time to exhaustion", "seconds", (energy, power), embed, Function.of(ratio), span, bound)


def straggler_share(metric: str, threshold: float, *, bound: float | None = None) -> Measure:
    """The share of nodes whose metric is above a threshold: x = [1 if v > threshold else 0], f = x[0], 0 to 1."""

    def embed(values: Floats) -> Floats:
        return (values > threshold).astype(np.float64)

    name, span = f"share of nodes with {metric} > {threshold:g}", Box(np.zeros(1), np.ones(1))
    return Measure(name, "1", (metric,), embed, linear([1.0]), span, bound)


mean_cpu = mean("cpu_usage", "percent")
"""Mean CPU usage over the live nodes, percent."""

mean_memory = mean("memory_usage", "percent")
"""Mean memory usage over the live nodes, percent."""
