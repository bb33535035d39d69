"""The convex bound of the cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind


@dataclass(frozen=True, eq=False)
class CosineZone:
    """For f = u.v / (|u| |v|) of x = [u, v]: a convex set around x0 in which f keeps between the thresholds.

    f <= T asks 4 u.v - 4 T |u| |v| <= 0. With n = |u|^2 + |v|^2 and m = (|u| + |v|)^2, both convex, and
    4 |u| |v| = 2m - 2n, that is rising - falling <= 0 for the convex functions

        T >= 0:  rising = |u+v|^2 + 2 T n,     falling = |u-v|^2 + 2 T m
        T <  0:  rising = |u+v|^2 + 2 |T| m,   falling = |u-v|^2 + 2 |T| n

    and the zone has the tangent of `falling` at x0 in its place; for f >= T it has that of `rising`. After Lazerson,
    Keren, Schuster, "Lightweight monitoring of distributed streams" (KDD 2016; TODS 2018). A threshold beyond 1 or -1
    asks nothing.
    """

    reference: Floats
    """x0 = [u0, v0], shape (d,), d even; neither is zero."""
    value: float
    lower: float
    upper: float

    reads_values: ClassVar[bool] = False

    def violation(self, x: Floats) -> ViolationKind | None:
        return ViolationKind.SAFE_ZONE if self.violations(x[None])[0] else None

    def violations(self, points: Floats, values: Floats | None = None) -> Kinds:
        """`violation` for every row of points (n, d); 0 where there is none."""
        inside = np.ones(len(points), dtype=bool)
        if self.upper < 1:
            inside &= self._rising(points, self.upper) <= self._falling(points, self.upper, is_tangent=True)
        if self.lower > -1:
            inside &= self._rising(points, self.lower, is_tangent=True) >= self._falling(points, self.lower)
        return np.where(inside, np.int8(0), np.int8(ViolationKind.SAFE_ZONE))

    def _rising(self, points: Floats, threshold: float, is_tangent: bool = False) -> Floats:
        return self._square(points, 1.0, is_tangent) + self._norms(points, threshold, threshold < 0, is_tangent)

    def _falling(self, points: Floats, threshold: float, is_tangent: bool = False) -> Floats:
        return self._square(points, -1.0, is_tangent) + self._norms(points, threshold, threshold >= 0, is_tangent)

    def _square(self, points: Floats, sign: float, is_tangent: bool) -> Floats:
        """|u + v|^2 or |u - v|^2."""
        half = points.shape[1] // 2
        sums = points[:, :half] + sign * points[:, half:]
        if is_tangent:
            at = self.reference[:half] + sign * self.reference[half:]
            tangent: Floats = (2 * sums - at) @ at
            return tangent
        square: Floats = (sums * sums).sum(axis=1)
        return square

    def _norms(self, points: Floats, threshold: float, is_mixed: bool, is_tangent: bool) -> Floats:
        """2 |T| m, or 2 |T| n."""
        half, x0 = points.shape[1] // 2, self.reference
        if not is_mixed:
            norms: Floats = (2 * points - x0) @ x0 if is_tangent else (points * points).sum(axis=1)
        elif is_tangent:
            first, second = np.linalg.norm(x0[:half]), np.linalg.norm(x0[half:])
            both = first + second
            norms = 2 * both * (points[:, :half] @ x0[:half] / first + points[:, half:] @ x0[half:] / second) - both**2
        else:
            norms = (np.linalg.norm(points[:, :half], axis=1) + np.linalg.norm(points[:, half:], axis=1)) ** 2
        return 2 * abs(threshold) * norms
