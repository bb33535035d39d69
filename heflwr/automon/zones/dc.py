"""ADCD-X: the safe zone of any twice differentiable function, from its extreme curvature in a neighbourhood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from heflwr.automon.box import Box
from heflwr.automon.zones.zone import Floats, Kinds, PointFunction, ViolationKind, Zone


@dataclass(frozen=True, eq=False)
class DcZone:
    """The points of the neighbourhood where a convex and a concave bound of f stay between the thresholds.

    AutoMon (Sivan, Gabel, Schuster, SIGMOD 2022), Lemma 1, in the simplified form. With p = curvature |x-x0|^2 / 2 and
    l the tangent of f at x0, the convex difference asks f + p <= upper and l - p >= lower, the concave one
    l + p <= upper and f - p >= lower. Both sets are convex and imply lower <= f <= upper if `curvature` is at least
    -(lowest eigenvalue) or, for the concave one, the highest eigenvalue of the Hessian anywhere in the neighbourhood.
    """

    reference: Floats
    """x0, shape (d,)."""
    value: float
    gradient: Floats
    lower: float
    upper: float
    curvature: float
    """>= 0."""
    is_convex: bool
    """Convex difference (f + p, p) or concave difference (f - p, -p)."""
    radius: float = np.inf
    """Half the side of the neighbourhood around x0, cut by the domain."""
    is_within_domain: bool = True
    """Whether the domain cuts the zone; not needed where f bends the same way wherever it is a number."""
    box: Box | None = field(default=None, repr=False)
    """The neighbourhood; the receiver works it out."""
    function: Callable[[Floats], float] | None = field(default=None, repr=False)
    """f; the receiver adds its own."""

    reads_values: ClassVar[bool] = True

    def finished(self, function: PointFunction, previous: Zone | None = None) -> DcZone:
        """Adds f and works out the neighbourhood."""
        domain = function.domain if self.is_within_domain else None
        return replace(self, function=function.numpy, box=neighbourhood(domain, self.reference, self.radius))

    def violation(self, x: Floats) -> ViolationKind | None:
        assert self.function is not None
        box = self.box
        if box is not None and not box.contains(x):
            return ViolationKind.NEIGHBOURHOOD
        step = x - self.reference
        tangent = self.value + self.gradient.dot(step)
        bend = 0.5 * self.curvature * step.dot(step)
        value = self.function(x)
        convex, concave = (value, tangent) if self.is_convex else (tangent, value)
        if not (convex + bend <= self.upper and concave - bend >= self.lower):
            return ViolationKind.SAFE_ZONE
        return None if self.lower <= value <= self.upper else ViolationKind.FAULTY

    def violations(self, points: Floats, values: Floats | None) -> Kinds:
        """`violation` for every row of points (n, d), f of which is given; 0 where there is none."""
        assert values is not None
        steps = points - self.reference
        tangent = self.value + steps @ self.gradient
        bend = 0.5 * self.curvature * (steps * steps).sum(axis=1)
        convex, concave = (values, tangent) if self.is_convex else (tangent, values)
        inside = (convex + bend <= self.upper) & (concave - bend >= self.lower)
        sound = (values >= self.lower) & (values <= self.upper)
        kinds = np.where(
            inside, np.where(sound, 0, np.int8(ViolationKind.FAULTY)), np.int8(ViolationKind.SAFE_ZONE)
        ).astype(np.int8)
        if self.box is not None:
            near = ((points >= self.box.lower) & (points <= self.box.upper)).all(axis=1)
            kinds[~near] = ViolationKind.NEIGHBOURHOOD
        return kinds


def neighbourhood(domain: Box | None, reference: Floats, radius: float) -> Box | None:
    """The box of half-side `radius` around x0 within the domain; None: everywhere."""
    if not np.isfinite(radius):
        return domain
    box = Box.around(reference, radius)
    return box if domain is None else box.intersect(domain)
