"""Inside a box where f lies between two affine functions: the part where those keep f between the thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from heflwr.automon.box import Box
from heflwr.automon.zones.dc import neighbourhood
from heflwr.automon.zones.zone import Floats, Kinds, PointFunction, ViolationKind, Zone


@dataclass(frozen=True, eq=False)
class AffineZone:
    """{x in the box: above (x - x0) <= room above, below (x - x0) >= -room below}; convex, and f is never evaluated.

    In the box f(x) <= upper - room_above + above (x - x0), and f(x) >= lower + room_below + below (x - x0).
    """

    reference: Floats
    """x0, shape (d,)."""
    value: float
    above: Floats
    """Slope of the affine function above f, shape (d,)."""
    below: Floats
    """Slope of the affine function below f, shape (d,)."""
    room_above: float
    """>= 0: x0 is inside."""
    room_below: float
    """>= 0."""
    radius: float
    """Half the side of the box around x0, cut by the domain."""
    box: Box | None = field(default=None, repr=False)
    """The receiver works it out."""

    reads_values: ClassVar[bool] = False

    def finished(self, function: PointFunction, previous: Zone | None = None) -> AffineZone:
        """Works out the box."""
        return replace(self, box=neighbourhood(function.domain, self.reference, self.radius))

    def violation(self, x: Floats) -> ViolationKind | None:
        assert self.box is not None
        if not self.box.contains(x):
            return ViolationKind.NEIGHBOURHOOD
        step = x - self.reference
        inside = self.above.dot(step) <= self.room_above and -self.below.dot(step) <= self.room_below
        return None if inside else ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None = None) -> Kinds:
        """`violation` for every row of points (n, d); 0 where there is none."""
        assert self.box is not None
        steps = points - self.reference
        inside = (steps @ self.above <= self.room_above) & (-(steps @ self.below) <= self.room_below)
        near = ((points >= self.box.lower) & (points <= self.box.upper)).all(axis=1)
        far = np.int8(ViolationKind.NEIGHBOURHOOD)
        return np.where(near, np.where(inside, np.int8(0), np.int8(ViolationKind.SAFE_ZONE)), far).astype(np.int8)
