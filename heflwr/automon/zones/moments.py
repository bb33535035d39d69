"""Between two parabolas: where the mean and the mean square keep a measure of spread within its bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind


@dataclass(frozen=True, eq=False)
class MomentsZone:
    """{(m, s): m > 0, s >= floor m^2, s <= slope m + offset}, for m the mean of v and s that of v^2.

    A measure of spread that depends on s / m^2 alone stays between its thresholds exactly where s is between two
    parabolas through the origin. Above the lower one is a convex set; below the upper one is not, but below a tangent
    of it is, and a tangent of a convex function lies below it.
    """

    reference: Floats
    """x0 = (m, s), shape (2,)."""
    value: float
    floor: float
    """0 where there is no lower parabola."""
    slope: float
    offset: float
    """inf where there is no upper parabola."""

    reads_values: ClassVar[bool] = False

    def violation(self, x: Floats) -> ViolationKind | None:
        mean, square = float(x[0]), float(x[1])
        inside = mean > 0 and self.floor * mean * mean <= square <= self.slope * mean + self.offset
        return None if inside else ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None = None) -> Kinds:
        """`violation` for every row of points (n, 2); 0 where there is none."""
        mean, square = points[:, 0], points[:, 1]
        inside = (mean > 0) & (self.floor * mean * mean <= square) & (square <= self.slope * mean + self.offset)
        return np.where(inside, np.int8(0), np.int8(ViolationKind.SAFE_ZONE))
