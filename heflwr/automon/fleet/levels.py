"""Levels of a fleet: means, totals, time to exhaustion, the share of nodes past a threshold. All zones are exact."""

from __future__ import annotations

import numpy as np

from heflwr.automon.fleet.measure import Measure, linear, unchanged
from heflwr.automon.forms import Ratio
from heflwr.automon.function import Function
from heflwr.automon.zones.zone import Floats

MILLIWATTS = 1e-3
"""Watts in a milliwatt; monitors report milliwatts."""


def mean(metric: str, unit: str) -> Measure:
    """The mean of a metric over the live nodes: x = [v], f = x[0], in the metric's unit."""
    return Measure(f"mean {metric}", unit, (metric,), unchanged, linear([1.0]))


def total(*metrics: str, nodes: int, unit: str, scale: float = 1.0) -> Measure:
    """The sum of some metrics over a fleet of `nodes` nodes: x = [sum of v], f = nodes scale x[0].

    Where nodes come and go, watch `mean` and multiply the answer's value and bound by its `live`.

    Args:
        metrics: Of one unit.
        nodes: How many nodes there are, >= 1.
        unit: Of the result.
        scale: From the metrics' unit to that of the result.
    """
    if nodes < 1:
        raise ValueError(f"nodes must be >= 1, got {nodes}")
    if not metrics:
        raise ValueError("total needs the name of at least one metric, got none")
    name = f"total {' + '.join(metrics)}"
    return Measure(name, unit, metrics, lambda values: values.sum(keepdims=True), linear([nodes * scale]))


def total_network(nodes: int) -> Measure:
    """Bytes sent and received by all of `nodes` nodes since their samples before."""
    return total("network_bytes_sent", "network_bytes_recv", nodes=nodes, unit="bytes")


def total_power(nodes: int, metric: str = "power_vdd_in") -> Measure:
    """Power of all of `nodes` nodes, watts, from a metric in milliwatts."""
    return total(metric, nodes=nodes, unit="watts", scale=MILLIWATTS)


def time_to_exhaustion(energy: str = "battery_joules", power: str = "power_vdd_in") -> Measure:
    """How long the fleet's energy lasts at its present power: x = [E, P], f = x[0] / x[1], seconds.

    The ratio of the means is that of the totals. Some node must draw power.

    Args:
        energy: Metric with the energy that is left, joules. No probe reads it: add it to the sample.
        power: Metric with the power that is drawn, milliwatts, >= 0.
    """

    def embed(values: Floats) -> Floats:
        left, drawn = float(values[0]), float(values[1]) * MILLIWATTS
        if drawn < 0 or left < 0:
            raise ValueError(f"{energy} and {power} must be >= 0, got {values[0]} and {values[1]}")
        return np.array([left, drawn])

    ratio = Ratio(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    return Measure("time to exhaustion", "seconds", (energy, power), embed, Function.of(ratio))


def straggler_share(metric: str, threshold: float) -> Measure:
    """The share of nodes whose metric is above a threshold: x = [1 if v > threshold else 0], f = x[0], 0 to 1."""

    def embed(values: Floats) -> Floats:
        return (values > threshold).astype(np.float64)

    return Measure(f"share of nodes with {metric} > {threshold:g}", "1", (metric,), embed, linear([1.0]))


mean_cpu = mean("cpu_usage", "percent")
"""Mean CPU usage over the live nodes, percent."""

mean_memory = mean("memory_usage", "percent")
"""Mean memory usage over the live nodes, percent."""
