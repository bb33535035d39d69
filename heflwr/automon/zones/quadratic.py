"""ADCD-E: the safe zone of a function with a constant Hessian, in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind, Zone


@dataclass(frozen=True, eq=False)
class QuadraticZone:
    """{x: l(x) + p+(x) <= upper, l(x) - p-(x) >= lower}, l the tangent at x0, p+ and p- the Hessian's two halves.

    AutoMon (Sivan, Gabel, Schuster, SIGMOD 2022), Lemma 2: f = l + p+ - p-, and both p+ = (x-x0)'H+(x-x0)/2 and
    p- = -(x-x0)'H-(x-x0)/2 are convex, hence both conditions are, and together they imply lower <= f <= upper. The
    convex and the concave difference give the same two conditions. f itself is never evaluated, so there is no domain
    to leave and the zone cannot be faulty.
    """

    reference: Floats
    """x0, shape (d,)."""
    value: float
    gradient: Floats
    lower: float
    upper: float
    factor: Floats | None = None
    """(rank, d): rows of eigenvectors times the root of |eigenvalue|; None: the same as in the zone before."""
    positive: int = 0
    """How many of the first rows belong to H+; the others are H-."""

    reads_values: ClassVar[bool] = False

    @classmethod
    def of(
        cls, reference: Floats, value: float, gradient: Floats, bounds: tuple[float, float], hessian: Floats
    ) -> QuadraticZone:
        """The zone around x0 for the thresholds `bounds`."""
        factor, positive = halves(hessian)
        return cls(reference, value, gradient, *bounds, factor, positive)

    def without_factor(self) -> QuadraticZone:
        """The zone for a node that holds the constant Hessian already."""
        return replace(self, factor=None)

    def finished(self, function: Any, previous: Zone | None) -> QuadraticZone | None:
        """Takes the Hessian from the zone before where this one leaves it out."""
        if self.factor is not None:
            return self
        if not isinstance(previous, QuadraticZone) or previous.factor is None:
            return None
        return replace(self, factor=previous.factor, positive=previous.positive)

    def violation(self, x: Floats) -> ViolationKind | None:
        assert self.factor is not None
        step = x - self.reference
        tangent = self.value + self.gradient.dot(step)
        if self.factor.size == 0:
            return None if self.lower <= tangent <= self.upper else ViolationKind.SAFE_ZONE
        image = self.factor.dot(step)
        up, down = image[: self.positive], image[self.positive :]
        if tangent + 0.5 * up.dot(up) <= self.upper and tangent - 0.5 * down.dot(down) >= self.lower:
            return None
        return ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None = None) -> Kinds:
        """`violation` for every row of points (n, d); 0 where there is none."""
        assert self.factor is not None
        steps = points - self.reference
        tangent = self.value + steps @ self.gradient
        images = steps @ self.factor.T
        squares = images * images
        highest = tangent + 0.5 * squares[:, : self.positive].sum(axis=1)
        lowest = tangent - 0.5 * squares[:, self.positive :].sum(axis=1)
        outside = ~((highest <= self.upper) & (lowest >= self.lower))
        return np.where(outside, np.int8(ViolationKind.SAFE_ZONE), np.int8(0))


def halves(hessian: Floats) -> tuple[Floats, int]:
    """The factor of a constant Hessian, (rank, d), rows of H+ first, and how many those are."""
    values, vectors = np.linalg.eigh(hessian)
    negligible = np.finfo(np.float64).eps * len(values) * float(np.abs(values).max(initial=0.0))
    rising, falling = values > negligible, values < -negligible
    order = np.concatenate([np.flatnonzero(rising), np.flatnonzero(falling)])
    return (vectors[:, order] * np.sqrt(np.abs(values[order]))).T.copy(), int(rising.sum())
