"""How unequal a fleet is: variance, coefficient of variation, Jain's fairness, the maximum, the scarcest resource."""

from __future__ import annotations

import math

import numpy as np

from heflwr.automon.box import Box
from heflwr.automon.fleet.measure import Measure, box_of, range_of, unchanged, unit_of
from heflwr.automon.forms import CoefficientOfVariation, Increasing, JainFairness
from heflwr.automon.function import Function
from heflwr.automon.zones.zone import Floats

CEILING = 100.0
"""Percent: what a usage does not exceed."""


def _moments(values: Floats) -> Floats:
    return np.array([values[0], values[0] ** 2])


def _box_of_moments(metric: str) -> Box:
    low, high = range_of(metric)
    return Box(np.array([low, 0.0]), np.array([high, high * high]))


def imbalance(metric: str, unit: str = "", *, bound: float | None = None) -> Measure:
    """The variance of a metric over the nodes: x = [v, v^2], f = x[1] - x[0]^2; `unit` is the metric's, squared."""
    unit = unit or (f"{unit_of(metric)}^2" if unit_of(metric) else "")
    bend = np.diag([-2.0, 0.0])
    function = Function(lambda x: x[1] - x[0] ** 2, 2, gradient=lambda x: np.array([-2 * x[0], 1.0]), hessian=bend)
    return Measure(f"variance of {metric}", unit, (metric,), _moments, function, _box_of_moments(metric), bound)


def coefficient_of_variation(metric: str, *, bound: float | None = None) -> Measure:
    """Standard deviation over mean of a metric >= 0 over the nodes: x = [v, v^2]; 0 where all are equal."""
    function = Function.of(CoefficientOfVariation())
    name = f"coefficient of variation of {metric}"
    return Measure(name, "1", (metric,), _moments, function, _box_of_moments(metric), bound)


def jain_fairness(metric: str, *, bound: float | None = None) -> Measure:
    """Jain's fairness of a metric >= 0 over the nodes: x = [v, v^2], f = x[0]^2 / x[1]; 1 where all are equal."""
    name, function = f"Jain's fairness of {metric}", Function.of(JainFairness())
    return Measure(name, "1", (metric,), _moments, function, _box_of_moments(metric), bound)


def smooth_max(
    metric: str, unit: str = "", *, temperature: float, ceiling: float = CEILING, bound: float | None = None
) -> Measure:
    """Nearly the largest value of a metric over n nodes: x = [exp((v - ceiling) / T)], f = ceiling + T log x[0].

    f is at most the largest value, and at least that less T log n.

    Args:
        metric: What is looked at.
        unit: Its unit, and f's.
        temperature: T > 0, in that unit: smaller is closer to the maximum, and stirs more often.
        ceiling: About the largest value there can be: it keeps x between 0 and 1.
        bound: Of f.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")

    def embed(values: Floats) -> Floats:
        with np.errstate(over="ignore"):  # far above the ceiling: an infinity, which `vector` refuses
            vector: Floats = np.exp((values - ceiling) / temperature)
        return vector

    form = Increasing(
        link=lambda x: ceiling + temperature * math.log(x) if x > 0 else math.nan,
        inverse=lambda y: _exp((y - ceiling) / temperature),
        slope=lambda x: temperature / x,
        bend=lambda x: -temperature / (x * x),
    )
    span = Box(np.zeros(1), embed(np.array([range_of(metric)[1]])))
    name = f"smooth maximum of {metric}"
    return Measure(name, unit or unit_of(metric), (metric,), embed, Function.of(form), span, bound)


def bottleneck(*metrics: str, temperature: float = 1.0, unit: str = "percent", bound: float | None = None) -> Measure:
    """Nearly the largest of k metrics' means: x = v, f = T log sum exp(x / T), convex: which resource runs out first.

    f is at least the largest mean, and at most that plus T log k.

    Args:
        metrics: Of one unit; by default CPU and memory usage.
        temperature: T > 0, in that unit.
        unit: Of the metrics, and of f.
        bound: Of f.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    names = metrics or ("cpu_usage", "memory_usage")

    def value(x: Floats) -> float:
        highest = x.max()
        return float(highest + temperature * np.log(np.exp((x - highest) / temperature).sum()))

    def gradient(x: Floats) -> Floats:
        weights = np.exp((x - x.max()) / temperature)
        shares: Floats = weights / weights.sum()
        return shares

    def hessian(x: Floats) -> Floats:
        shares = gradient(x)
        bend: Floats = (np.diag(shares) - np.outer(shares, shares)) / temperature
        return bend

    function = Function(value, len(names), gradient=gradient, hessian=hessian, shape="convex")
    name = f"smooth maximum of the means of {', '.join(names)}"
    return Measure(name, unit, names, unchanged, function, box_of(*names), bound)


cpu_imbalance = imbalance("cpu_usage", "percent^2")
"""Variance of CPU usage over the nodes, percent^2."""

cpu_variation = coefficient_of_variation("cpu_usage")
"""Coefficient of variation of CPU usage over the nodes."""

cpu_fairness = jain_fairness("cpu_usage")
"""Jain's fairness of CPU usage over the nodes, 1/n to 1."""

cpu_smooth_max = smooth_max("cpu_usage", "percent", temperature=5.0)
"""Nearly the largest CPU usage, percent; among 100 nodes at most 23 below it, and with one such node only."""


def _exp(exponent: float) -> float:
    """The exponential; infinite where that is more than a float64 holds."""
    try:
        return math.exp(exponent)
    except OverflowError:
        return math.inf
