"""What a histogram of a metric over the fleet tells: quantiles, entropy, drift from a baseline.

A node's local vector is the share of its samples in each bin: a single 1 for one sample, a histogram for a window of
them. The mean of these is the histogram of all samples of the fleet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from heflwr.automon.box import Box
from heflwr.automon.fleet.measure import Measure, range_of, unit_of
from heflwr.automon.forms import Quantile
from heflwr.automon.function import Function
from heflwr.automon.zones.zone import Floats

PERCENT_EDGES = np.linspace(0.0, 100.0, 21)
"""Twenty bins of five percent."""
PERCENT_EDGES.flags.writeable = False

SMOOTHING = 1e-3
"""Added to each bin's share before a logarithm is taken: an empty bin would have an infinite one."""


def histogram(edges: ArrayLike) -> Callable[[Floats], Floats]:
    """Return the embedding of one value: 1 in its bin, 0 in the others.

    Bin k holds edges[k] <= v < edges[k+1]; values below the first edge belong to the first bin, values from the last
    edge on to the last.
    """
    borders = np.array(edges, dtype=np.float64)

    def embed(values: Floats) -> Floats:
        shares = np.zeros(len(borders) - 1)
        shares[np.clip(np.searchsorted(borders, values[0], side="right") - 1, 0, len(shares) - 1)] = 1.0
        return shares

    return embed


def quantile(
    metric: str,
    q: float,
    *,
    bins: int = 20,
    edges: ArrayLike | None = None,
    unit: str = "",
    bound: float | None = None,
) -> Measure:
    """The q-quantile of a metric over all samples of the fleet, as the centre of the bin that it lies in; exact zones.

    An error bound below half of the distance between two bins' centres asks for that very bin.

    Args:
        metric: What is looked at.
        q: Between 0 and 1, both excluded.
        bins: How many of one width between the least and the largest value that the metric can have.
        edges: The bins' borders in place of those, shape (bins + 1,), increasing.
        unit: The metric's, and f's.
        bound: Of f; None asks for the very bin.

    Raises:
        ValueError: q or the edges are out of range, or the metric has no largest value and no edges are given.
    """
    if edges is None:
        low, high = range_of(metric)
        if not np.isfinite([low, high]).all():
            raise ValueError(f"where a {metric} ends is not known: give the borders of the bins, edges=[...]")
        if bins < 1:
            raise ValueError(f"bins must be >= 1, got {bins}")
        edges = np.linspace(low, high, bins + 1)
    form = Quantile(np.asarray(edges, dtype=np.float64), q)
    if bound is None and form.dim > 1:
        bound = 0.49 * float(np.diff(form.centres).min())
    name, span = f"{q:g}-quantile of {metric}", Box(np.zeros(form.dim), np.ones(form.dim))
    return Measure(name, unit or unit_of(metric), (metric,), histogram(form.edges), Function.of(form), span, bound)


def entropy(metric: str, *, edges: ArrayLike = PERCENT_EDGES, bound: float | None = None) -> Measure:
    """The entropy of the histogram x: f = -sum p log p, p = (x + t) / (1 + bins t), t = SMOOTHING; nats; concave.

    Where a share is below zero, as after subtracting slack, p log p goes on along its tangent at x = 0: no mean of
    histograms is there, and f is concave everywhere, so that there is no domain for a node to leave.
    """
    embed, bins = _checked(edges)
    whole = 1 + bins * SMOOTHING

    def value(x: Floats) -> float:
        return -float(_x_log_x(x / whole + SMOOTHING / whole, SMOOTHING / whole)[0].sum())

    def gradient(x: Floats) -> Floats:
        slope: Floats = -_x_log_x(x / whole + SMOOTHING / whole, SMOOTHING / whole)[1] / whole
        return slope

    def hessian(x: Floats) -> Floats:
        return np.diag(-_x_log_x(x / whole + SMOOTHING / whole, SMOOTHING / whole)[2] / whole**2)

    function = Function(value, bins, gradient=gradient, hessian=hessian, shape="concave", separable=True)
    span = Box(np.zeros(bins), np.ones(bins))
    return Measure(f"entropy of the histogram of {metric}", "nats", (metric,), embed, function, span, bound)


def kl_drift(
    metric: str, baseline: ArrayLike, *, edges: ArrayLike = PERCENT_EDGES, bound: float | None = None
) -> Measure:
    """How far the histogram x has drifted from a baseline: f = sum p log(p/q), nats; convex.

    p = (x + t) / (1 + bins t), t = SMOOTHING, and q is the baseline, smoothed alike. Below x = 0 it goes on as
    `entropy` does.

    Args:
        metric: What is looked at.
        baseline: The histogram to compare with, shape (bins,), >= 0: counts or shares.
        edges: The bins' borders, shape (bins + 1,), increasing.
        bound: Of f.
    """
    embed, bins = _checked(edges)
    counts = np.array(baseline, dtype=np.float64)
    if counts.shape != (bins,) or not ((counts >= 0).all() and np.isfinite(counts).all() and counts.sum() > 0):
        raise ValueError(f"baseline must hold {bins} finite counts >= 0, not all 0, got {counts}")
    whole = 1 + bins * SMOOTHING
    logs = np.log((counts / counts.sum() + SMOOTHING) / whole)

    def value(x: Floats) -> float:
        p = (x + SMOOTHING) / whole
        return float(_x_log_x(p, SMOOTHING / whole)[0].sum() - logs @ p)

    def gradient(x: Floats) -> Floats:
        slope: Floats = (_x_log_x((x + SMOOTHING) / whole, SMOOTHING / whole)[1] - logs) / whole
        return slope

    def hessian(x: Floats) -> Floats:
        return np.diag(_x_log_x((x + SMOOTHING) / whole, SMOOTHING / whole)[2] / whole**2)

    function = Function(value, bins, gradient=gradient, hessian=hessian, shape="convex", separable=True)
    span = Box(np.zeros(bins), np.ones(bins))
    return Measure(f"drift of the histogram of {metric}", "nats", (metric,), embed, function, span, bound)


def _x_log_x(p: Floats, least: float) -> tuple[Floats, Floats, Floats]:
    """P log p, its slope and its bend; below `least` along the tangent there. Convex either way."""
    inside = np.maximum(p, least)
    logs = np.log(inside)
    return inside * logs + (1 + logs) * (p - inside), 1 + logs, np.where(p >= least, 1 / inside, 0.0)


def _checked(edges: ArrayLike) -> tuple[Callable[[Floats], Floats], int]:
    form = Quantile(np.asarray(edges, dtype=np.float64), 0.5)  # which checks them
    return histogram(form.edges), form.dim


cpu_p95 = quantile("cpu_usage", 0.95)
"""95th percentile of CPU usage over the fleet, percent, in bins of five percent."""

memory_p95 = quantile("memory_usage", 0.95)
"""95th percentile of memory usage over the fleet, percent, in bins of five percent."""

cpu_entropy = entropy("cpu_usage")
"""Entropy of the histogram of CPU usage over the fleet, nats: 0 where all nodes are alike, up to log 20."""
