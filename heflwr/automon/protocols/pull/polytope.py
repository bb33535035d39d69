"""A zone of drifts for coordinators that have to add zones up: a box, cut by a few half-spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind


@dataclass(frozen=True, eq=False)
class Polytope:
    """The drifts u with rows u <= depths and |u| <= reach, coordinate by coordinate; numbers only.

    It contains 0. Its support in any direction is bounded in closed form, so that the mean of drifts that are in
    different polytopes is bounded, too: the support of a sum of sets is the sum of their supports.
    """

    is_of_drifts: ClassVar[bool] = True

    rows: Floats
    """(k, d), k >= 0."""
    depths: Floats
    """(k,), >= 0."""
    reach: Floats
    """(d,), >= 0; may be infinite."""

    def violation(self, x: Floats) -> ViolationKind | None:
        if not (self.rows.dot(x) <= self.depths).all():
            return ViolationKind.SAFE_ZONE
        return None if (np.abs(x) <= self.reach).all() else ViolationKind.NEIGHBOURHOOD

    def violations(self, drifts: Floats, values: Any = None) -> Kinds:
        """`violation` for every row of drifts (n, d); 0 where there is none."""
        is_cut = (drifts @ self.rows.T <= self.depths).all(axis=1)
        is_near = (np.abs(drifts) <= self.reach).all(axis=1)
        near = np.where(is_near, np.int8(0), np.int8(ViolationKind.NEIGHBOURHOOD))
        return np.where(is_cut, near, np.int8(ViolationKind.SAFE_ZONE))

    def gauge(self, x: Floats) -> float:
        """The least factor by which the zone must grow to hold the drift x, shape (d,); infinite where none will do."""
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.concatenate([np.maximum(self.rows.dot(x), 0.0) / self.depths, np.abs(x) / self.reach])
        return float(np.nan_to_num(shares, nan=0.0, posinf=np.inf).max())

    def scaled(self, factor: float) -> Polytope:
        """The zone grown or shrunk by a factor > 0."""
        return Polytope(self.rows, factor * self.depths, factor * self.reach)

    def support(self, direction: Floats) -> float:
        """Upper bound of direction . u over the zone, direction of shape (d,); exact where one row matters.

        By duality direction . u <= t depth + |direction - t row| . reach for every row and every t >= 0. That is
        convex and piecewise linear in t, so the least of it is at 0 or where a coordinate of the rest vanishes.
        """
        least = float(_reached(direction, self.reach))
        for row, depth in zip(self.rows, self.depths, strict=True):
            held = row != 0
            steps = direction[held] / row[held]
            steps = np.unique(steps[steps > 0])
            if len(steps):
                rests = direction - steps[:, None] * row
                rests[np.abs(rests) <= ROUNDING * np.abs(direction)] = 0.0
                least = min(least, float(np.min(steps * depth + _reached(rests, self.reach))))
        return least


def _reached(directions: Floats, reach: Floats) -> Any:
    """|direction| . reach, where nothing times an infinite reach is nothing."""
    with np.errstate(invalid="ignore"):
        return np.where(directions == 0, 0.0, np.abs(directions) * reach).sum(axis=-1)


ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""A coordinate of the rest this small, in shares of what it was, is taken for nothing."""
