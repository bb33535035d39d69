"""The convex bound of the inner product, without any matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind


@dataclass(frozen=True, eq=False)
class InnerProductZone:
    """For f = u.v of x = [u, v]: where |u+v|^2 and |u-v|^2, one replaced by its tangent, keep f between the thresholds.

    f = |a|^2 / 4 - |b|^2 / 4 with a = u + v and b = u - v, a difference of convex functions; a tangent lies below a
    convex function, so |a|^2 - tangent(|b|^2) <= 4 upper and tangent(|a|^2) - |b|^2 >= 4 lower are convex and imply
    lower <= f <= upper (Lazerson, Keren, Schuster, "Lightweight monitoring of distributed streams", KDD 2016). It is
    the zone of ADCD-E, from d numbers instead of d x d.
    """

    reference: Floats
    """x0, shape (d,), d even."""
    value: float
    lower: float
    upper: float

    reads_values: ClassVar[bool] = False

    def violation(self, x: Floats) -> ViolationKind | None:
        half = len(x) // 2
        a, b = x[:half] + x[half:], x[:half] - x[half:]
        a0 = self.reference[:half] + self.reference[half:]
        b0 = self.reference[:half] - self.reference[half:]
        highest = a.dot(a) - (2 * b - b0).dot(b0)
        lowest = (2 * a - a0).dot(a0) - b.dot(b)
        return None if highest <= 4 * self.upper and lowest >= 4 * self.lower else ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None = None) -> Kinds:
        """`violation` for every row of points (n, d); 0 where there is none."""
        half = points.shape[1] // 2
        a, b = points[:, :half] + points[:, half:], points[:, :half] - points[:, half:]
        a0 = self.reference[:half] + self.reference[half:]
        b0 = self.reference[:half] - self.reference[half:]
        highest = (a * a).sum(axis=1) - (2 * b - b0) @ b0
        lowest = (2 * a - a0) @ a0 - (b * b).sum(axis=1)
        inside = (highest <= 4 * self.upper) & (lowest >= 4 * self.lower)
        return np.where(inside, np.int8(0), np.int8(ViolationKind.SAFE_ZONE))
