"""Outlines of functions with derivatives: a plane, and how far f bends away from it within a box."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import product
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.affine_bounds import AffineBounds
from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.curvature import extremes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heflwr.automon.function import Function
    from heflwr.automon.protocols.pull.outline import Range
    from heflwr.automon.protocols.pull.spread import Spread
    from heflwr.automon.zones.zone import Floats

LARGEST = 10
"""Coordinates of a box whose corners are looked at one by one."""


class Smooth(ABC):
    """An outline that cuts its zones by a slab along the gradient."""

    guarantee = Guarantee.GUARANTEED
    reason = ""
    is_exact = False

    def __init__(self, function: Function) -> None:
        self._function = function

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        return np.ones(self._function.dim, dtype=bool)

    def cuts(self, centre: Floats, error_bound: float) -> tuple[Floats, Floats]:
        """Both sides of the gradient."""
        gradient = np.asarray(self._function.gradient(centre), dtype=np.float64)
        return np.array([gradient, -gradient]), np.array([error_bound, error_bound])

    @abstractmethod
    def range(self, centre: Floats, spread: Spread) -> Range:
        """The lowest and the highest f around `centre`, (d,)."""

    def _box(self, centre: Floats, reach: Floats) -> Box:
        box, domain = Box.around(centre, reach), self._function.domain
        return box if domain is None else box.intersect(domain)


class Tangent(Smooth):
    """f(c + u) - f(c) - g.u is between the bends that `bends` tells."""

    def range(self, centre: Floats, spread: Spread) -> Range:
        """See the class."""
        value = float(self._function.value(centre))
        gradient = np.asarray(self._function.gradient(centre), dtype=np.float64)
        up, down = self.bends(centre, gradient, spread.reach)
        return value - spread.support(-gradient) - down, value + spread.support(gradient) + up

    @abstractmethod
    def bends(self, centre: Floats, gradient: Floats, reach: Floats) -> tuple[float, float]:
        """How far f is at most above and below its tangent plane within reach of `centre`, (d,); >= 0."""


class Flat(Tangent):
    """A linear function."""

    guarantee = Guarantee.EXACT
    reason = "f is linear, so a slab is the admissible region itself"

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        return np.zeros(self._function.dim, dtype=bool)

    def bends(self, centre: Floats, gradient: Floats, reach: Floats) -> tuple[float, float]:
        return 0.0, 0.0


class Constant(Tangent):
    """A constant Hessian H: u'Hu / 2 is at most what its entries, or its eigenvalues, allow in the box."""

    reason = "the Hessian is constant, so its bend over a box is bounded in closed form"

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self._hessian = np.asarray(function.hessian(np.zeros(function.dim)), dtype=np.float64)
        values = np.linalg.eigvalsh(self._hessian)
        self._extremes = max(float(values[-1]), 0.0), max(-float(values[0]), 0.0)

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        return np.asarray(self._hessian.any(axis=0))

    def bends(self, centre: Floats, gradient: Floats, reach: Floats) -> tuple[float, float]:
        held = self._hessian.any(axis=0)
        hessian, reach = self._hessian[np.ix_(held, held)], reach[held]
        if not np.isfinite(reach).all():
            return inf, inf
        own = np.diag(hessian)
        across = np.abs(hessian - np.diag(own))
        mixed, square = float(reach @ across @ reach), reach * reach
        up, down = float(np.maximum(own, 0.0) @ square), float(np.maximum(-own, 0.0) @ square)
        total = float(square.sum())
        return tuple(  # type: ignore[return-value]
            0.5 * min(part + mixed, most * total) for part, most in zip((up, down), self._extremes, strict=True)
        )


class Curved(Tangent):
    """A convex or concave function: it is on one side of its tangent plane, and furthest from it at a corner."""

    def __init__(self, function: Function, *, is_convex: bool) -> None:
        super().__init__(function)
        self._is_convex = is_convex
        self.reason = f"f is {'convex' if is_convex else 'concave'}: a tangent plane on one side, corners on the other"

    def bends(self, centre: Floats, gradient: Floats, reach: Floats) -> tuple[float, float]:
        if not np.isfinite(reach).all():
            return inf, inf
        box = self._box(centre, reach)
        value = float(self._function.value(centre))
        if self._function.is_separable:
            gaps = np.zeros(len(centre))
            for at in range(len(centre)):
                for end in (box.lower[at], box.upper[at]):
                    point = centre.copy()
                    point[at] = end
                    gaps[at] = max(gaps[at], self._gap(point, centre, value, gradient))
            gap = float(gaps.sum())
        else:
            ends = list(zip(box.lower, box.upper, strict=True))
            gap = max(self._gap(np.array(corner), centre, value, gradient) for corner in product(*ends))
        gap = max(gap, 0.0)
        return (gap, 0.0) if self._is_convex else (0.0, gap)

    def _gap(self, point: Floats, centre: Floats, value: float, gradient: Floats) -> float:
        above = float(self._function.value(point)) - value - float(gradient @ (point - centre))
        gap = above if self._is_convex else -above
        return gap if gap == gap else inf


class Bounded(Smooth):
    """Affine functions above and below f on the box."""

    reason = "affine functions above and below f on a box bound its range there"

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self._bounds = AffineBounds(function.program)

    def range(self, centre: Floats, spread: Spread) -> Range:
        """The range of both."""
        if not np.isfinite(spread.reach).all():
            return -inf, inf
        box = self._box(centre, spread.reach)
        found = self._bounds.on(box.lower, box.upper)
        if not found.is_finite:
            return -inf, inf
        lowest = float(found.below @ centre) + found.below_offset - spread.support(-found.below)
        highest = float(found.above @ centre) + found.above_offset + spread.support(found.above)
        return lowest, highest


class Searched(Tangent):
    """Extreme eigenvalues in the box, by a search that may miss them."""

    guarantee = Guarantee.HEURISTIC
    reason = "the extreme eigenvalues of the Hessian come from a numerical search that may miss them"

    def __init__(self, function: Function, *, seed: int = 0) -> None:
        super().__init__(function)
        self._seed = seed
        self._last: tuple[Box, float, float] | None = None

    def bends(self, centre: Floats, gradient: Floats, reach: Floats) -> tuple[float, float]:
        if not np.isfinite(reach).all():
            return inf, inf
        inner = self._box(centre, reach)
        if self._last is None or not _is_inside(inner, self._last[0], reach):
            box = self._box(centre, ROOM * reach)
            if not box.is_bounded:
                return inf, inf
            found = extremes(self._function, box, seed=self._seed)
            self._last = box, max(float(found.highest), 0.0), max(-float(found.lowest), 0.0)
        _, rising, falling = self._last
        half = 0.5 * float(reach @ reach)
        bends = rising * half, falling * half
        return bends if np.isfinite(bends).all() else (inf, inf)


ROOM = 1.5
"""The search covers a box this much wider than it must, so that it lasts while the centre moves."""

LOOSE = 4.0
"""A box this much wider than what is looked at says too little."""


def _is_inside(inner: Box, outer: Box, reach: Floats) -> bool:
    is_within = (inner.lower >= outer.lower).all() and (inner.upper <= outer.upper).all()
    return bool(is_within and (outer.upper - outer.lower <= 2 * LOOSE * reach).all())
