"""The safe zone of a concave function: above one threshold as it is, below the other under a tangent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, PointFunction, ViolationKind, Zone


@dataclass(frozen=True, eq=False)
class ConcaveZone:
    """{x: f(x) >= lower, normal.x <= offset}.

    f concave makes the first set convex, and puts f below its tangent at any point q: where
    f(q) + gradient(q).(x - q) <= upper, there f <= upper. Which q is best is up to who derives the zone; none is wrong.
    """

    reference: Floats
    """x0, shape (d,)."""
    value: float
    lower: float
    normal: Floats
    """The gradient at q, shape (d,)."""
    offset: float
    """upper - f(q) + gradient(q).q"""
    function: Callable[[Floats], float] | None = field(default=None, repr=False)
    """f; the receiver adds its own."""

    reads_values: ClassVar[bool] = True

    def finished(self, function: PointFunction, previous: Zone | None = None) -> ConcaveZone:
        """Adds f."""
        return replace(self, function=function.numpy)

    def violation(self, x: Floats) -> ViolationKind | None:
        assert self.function is not None
        with np.errstate(all="ignore"):  # outside f's domain there is a NaN, which is a violation
            value = self.function(x)
        return None if value >= self.lower and self.normal.dot(x) <= self.offset else ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None) -> Kinds:
        """`violation` for every row of points (n, d), f of which is given; 0 where there is none."""
        assert values is not None
        inside = (values >= self.lower) & (points @ self.normal <= self.offset)
        return np.where(inside, np.int8(0), np.int8(ViolationKind.SAFE_ZONE))
