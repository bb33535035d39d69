"""A zone of drifts in closed form: a slab along the gradient whose faces bend with f, cut by a ball."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind, Zone


@dataclass(frozen=True, eq=False)
class SlabZone:
    """The drifts u with g.u + p+(u) <= depth, -g.u + p-(u) <= depth and |u| <= reach: numbers only, f is not needed.

    With a factor (a constant Hessian H = H+ + H-): p+ = rising u'H+u/2, p- = -falling u'H-u/2, and |u| stands for the
    larger of sqrt(u'H+u) and sqrt(-u'H-u). Without: p+ = rising |u|^2/2, p- = falling |u|^2/2, and |u| is Euclid's.
    """

    is_of_drifts: ClassVar[bool] = True

    gradient: Floats
    """g, shape (d,)."""
    depth: float
    """How much f may rise or fall, > 0."""
    reach: float
    """Radius of the ball; may be infinite."""
    rising: float = 0.0
    """>= every eigenvalue of the Hessian where the zone is used; with a factor how stiff the faces are, >= 1."""
    falling: float = 0.0
    """>= minus every eigenvalue; with a factor as `rising`."""
    is_round: bool = False
    """Without a factor, by `rising` and `falling`."""
    positive: int = 0
    """How many of the first rows of the factor belong to H+."""
    factor: Floats | None = None
    """(rank, d): eigenvectors times the root of |eigenvalue|; None where it is round or as in the zone before."""

    def without_factor(self) -> SlabZone:
        """The zone for a node that holds the constant Hessian already."""
        return replace(self, factor=None)

    def finished(self, function: Any, previous: Zone | None) -> SlabZone | None:
        """Takes the Hessian from the zone before where this one leaves it out."""
        if self.is_round or self.factor is not None:
            return self
        if not isinstance(previous, SlabZone) or previous.factor is None:
            return None
        return replace(self, factor=previous.factor)

    def violation(self, x: Floats) -> ViolationKind | None:
        slope = float(self.gradient.dot(x))
        if self.is_round:
            square = float(x.dot(x))
            up, down, extent = 0.5 * self.rising * square, 0.5 * self.falling * square, square
        else:
            assert self.factor is not None
            image = self.factor.dot(x)
            first, second = image[: self.positive], image[self.positive :]
            rise, fall = float(first.dot(first)), float(second.dot(second))
            up, down, extent = 0.5 * self.rising * rise, 0.5 * self.falling * fall, max(rise, fall)
        if not (slope + up <= self.depth and down - slope <= self.depth):
            return ViolationKind.SAFE_ZONE
        return None if sqrt(extent) <= self.reach else ViolationKind.NEIGHBOURHOOD

    def violations(self, drifts: Floats, values: Any = None) -> Kinds:
        """`violation` for every row of drifts (n, d); 0 where there is none."""
        slopes = drifts @ self.gradient
        if self.is_round:
            extents = np.einsum("ij,ij->i", drifts, drifts)
            up, down = 0.5 * self.rising * extents, 0.5 * self.falling * extents
        else:
            assert self.factor is not None
            squares = np.square(drifts @ self.factor.T)
            rise, fall = squares[:, : self.positive].sum(axis=1), squares[:, self.positive :].sum(axis=1)
            up, down, extents = 0.5 * self.rising * rise, 0.5 * self.falling * fall, np.maximum(rise, fall)
        is_in_slab = (slopes + up <= self.depth) & (down - slopes <= self.depth)
        is_in_ball = np.sqrt(extents) <= self.reach
        return np.where(
            is_in_slab,
            np.where(is_in_ball, np.int8(0), np.int8(ViolationKind.NEIGHBOURHOOD)),
            np.int8(ViolationKind.SAFE_ZONE),
        )

    def scaled(self, weight: float) -> SlabZone:
        """The drifts u with u / weight in this zone, a slab again; weight > 0."""
        if weight == 1:
            return self
        return replace(
            self, gradient=weight * self.gradient, depth=weight * weight * self.depth, reach=weight * self.reach
        )
