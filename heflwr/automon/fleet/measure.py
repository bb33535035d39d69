"""One entry of the catalogue: from a node's sample to its local vector, and the function of the mean of those."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heflwr.automon.function import Function
from heflwr.automon.zones.zone import Floats

Sample = Mapping[str, Any]
"""Metric name to number; a list of numbers, as a monitor's stats() has them, stands for the latest."""


@dataclass(frozen=True, eq=False)
class Measure:
    """Something worth knowing of a fleet.

    Args:
        name: For people.
        unit: Of f and of its error bound.
        metrics: What a sample must hold.
        embed: From the values of these, shape (len(metrics),), to the local vector, shape (dim,).
        function: f, of the mean of the local vectors.
    """

    name: str
    unit: str
    metrics: tuple[str, ...]
    embed: Callable[[Floats], Floats] = field(repr=False)
    function: Function = field(repr=False)

    @property
    def dim(self) -> int:
        """Size of the local vector."""
        return self.function.dim

    def vector(self, *samples: Sample) -> Floats:
        """Return a node's local vector, shape (dim,), float64.

        Args:
            samples: The node's sample. Several stand for a window of time: the mean of their vectors, which weighs
                every sample of every node alike.

        Raises:
            ValueError: There is none, a metric is missing or has no value, or makes a vector that is not finite.
        """
        if not samples:
            raise ValueError(f"{self.name} needs at least one sample, got none")
        rows = [self.embed(np.array([self._read(sample, metric) for metric in self.metrics])) for sample in samples]
        vector: Floats = np.mean(np.asarray(rows, dtype=np.float64), axis=0)
        if not np.isfinite(vector).all():
            raise ValueError(
                f"{self.name} has no local vector for {[dict(sample) for sample in samples]}: got {vector}"
            )
        return vector

    def _read(self, sample: Sample, metric: str) -> float:
        if metric not in sample:
            raise ValueError(f"{self.name} needs the metric {metric!r}, and the sample has {', '.join(sorted(sample))}")
        value = sample[metric]
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = value[-1] if value else None
        number = np.nan if value is None or isinstance(value, str) else float(value)
        if not np.isfinite(number):
            usable = sorted(name for name in sample if name != metric)
            raise ValueError(
                f"{self.name} needs a finite number for {metric!r}, got {sample[metric]!r}; the sample also has "
                f"{', '.join(usable) or 'nothing'}: leave this sample out, or monitor another metric"
            )
        return number


def linear(weights: Sequence[float]) -> Function:
    """Return f(x) = weights.x, known to be linear without any tracing."""
    slope = np.array(weights, dtype=np.float64)
    flat = np.zeros((slope.size, slope.size))
    return Function(lambda x: slope @ x, slope.size, gradient=lambda x: slope.copy(), hessian=flat)


def unchanged(values: Floats) -> Floats:
    """The local vector is the values themselves."""
    return values
