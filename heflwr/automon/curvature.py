"""How strongly a function bends over a box: the extreme eigenvalues of its Hessian there.

The search climbs v'H(x)v, which never exceeds the highest eigenvalue of H(x) for a unit v: first in x with v fixed,
where the function is smooth and its gradient costs as much as a few values of f, then in v, which is an eigenvector
of H(x). At a simple eigenvalue the gradient by x is that of the eigenvalue itself (Magnus, Econometric Theory 1985,
theorem 1), and where eigenvalues meet, what the eigenvalue itself has none of, the climb goes on. Every value
returned is reached at a point of the box, hence inside the true range; that nothing lies outside of it is not proved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from heflwr.automon.box import Box
from heflwr.automon.function import Function
from heflwr.automon.spectrum import exact_extremes, extreme_pairs

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_POOL = ((2, 128, 24), (16, 32, 8), (math.inf, 16, 8))
"""Up to a dim, so many points are tried first, and so many of them are climbed from, for each side. On planes with
several hills, 8 climbs of 64 points missed the highest in 1 box of 400; 24 of 128 missed it in none of 1,200."""
_TURNS = 12
"""Changes from x to v and back; two to four do where the extremes lie on the border of the box."""
_CLIMBS = 24
"""Steps in x for one v. Fewer, with more turns, end lower for the same time on networks of 40 and 200 inputs."""
_FIRST = 0.1
"""Share of the box's width that the steepest coordinate moves in the first step of the other climbs."""
_TOLERANCE = 1e-5
"""A climb is over where a turn gains less than this share of the largest eigenvalue seen."""
_FINALISTS = 3
_CLOSE = 1e-2
"""So many points of each side, and so close to the best in share of the largest eigenvalue, have their whole spectrum
computed, which decides: a Ritz value may be short of its eigenvalue."""


class Status(Enum):
    """What extreme eigenvalues are worth."""

    EXACT = "The Hessian is constant: these are its extreme eigenvalues."
    CONVERGED = "Every climb came to rest: nothing near is more extreme, but something far away may have been missed."
    UNCONVERGED = "The search was cut short while it still gained: more extreme eigenvalues are likely in the box."
    KINKED = "The function has kinks, whose curvature no Hessian shows: the extremes hold only away from them."
    PARTLY_FINITE = "The function or its Hessian is not finite in a part of the box: the extremes are of the rest."
    NOT_FINITE = "The function and its Hessian were finite at no point that was tried: there are no extremes."


@dataclass(frozen=True, eq=False)
class Extremes:
    """The extreme eigenvalues of a Hessian over a box.

    Args:
        lowest: The lowest eigenvalue that was reached; NaN where status is NOT_FINITE, and never else.
        highest: The highest, likewise.
        status: What they are worth.
        lowest_at: The point where the lowest was reached, shape (dim,).
        highest_at: The point where the highest was reached, shape (dim,).
    """

    lowest: float
    highest: float
    status: Status
    lowest_at: Vector = field(repr=False)
    highest_at: Vector = field(repr=False)


def extremes(function: Function, box: Box, *, seed: int = 0) -> Extremes:
    """Return the extreme eigenvalues of the function's Hessian over a box.

    Args:
        function: The function; give it derivatives of its own only if they are vectorised well: without JAX a point
            costs about 4 dim Hessians.
        box: A bounded box of `function.dim` coordinates.
        seed: For the starting points; the same seed gives the same extremes.

    Raises:
        ValueError: The box has another dim, or is not bounded although the Hessian is not constant.
    """
    if box.dim != function.dim:
        raise ValueError(f"box must have {function.dim} coordinates as the function has, got {box.dim}")
    if function.is_constant_hessian:
        point = box.clip(np.zeros(box.dim))
        lowest, highest = exact_extremes(function.hessian(point))
        return Extremes(lowest, highest, Status.EXACT if lowest <= highest else Status.NOT_FINITE, point, point)
    if not box.is_bounded:
        raise ValueError("box must be bounded: intersect it with Box.around(x, radius)")
    return _Search(function, box, np.random.default_rng(seed)).run()


class _Search:
    """All climbs in step: the first half of the rows towards the highest eigenvalue, the rest towards the lowest.

    Rows live in the unit cube, so that one step length suits a coordinate of any width.
    """

    def __init__(self, function: Function, box: Box, rng: np.random.Generator) -> None:
        self.function = function
        self.box = box
        self.width = box.upper - box.lower
        self.rng = rng
        self.is_partly_finite = False
        self.pool, self.climbers = next((pool, climbers) for dim, pool, climbers in _POOL if box.dim <= dim)
        self.signs = np.repeat([1.0, -1.0], self.climbers)
        # A first step of infinite length jumps to a corner; every other climb explores its own hill instead.
        self.steps = np.where(np.arange(2 * self.climbers) % 2 == 0, np.inf, np.nan)
        self.is_at_rest = np.zeros(2 * self.climbers, dtype=bool)

    def run(self) -> Extremes:
        unit = self._pool()
        lowest, highest, low_vectors, high_vectors = self._spectra(unit)
        if not np.isfinite(highest).any():
            return Extremes(np.nan, np.nan, Status.NOT_FINITE, self._points(unit)[0], self._points(unit)[0])
        up, down = _chosen(unit, highest, self.climbers), _chosen(unit, -lowest, self.climbers)
        unit = unit[np.concatenate([up, down])]
        vectors = np.concatenate([high_vectors[up], low_vectors[down]])
        reached = np.concatenate([highest[up], -lowest[down]])
        status = Status.UNCONVERGED
        for turns_left in reversed(range(_TURNS)):
            climbed = self._climb(unit, vectors)
            lowest, highest, low_vectors, high_vectors = self._spectra(climbed)
            is_up = self.signs > 0
            values = np.where(is_up, highest, -lowest)
            is_defined = np.isfinite(values)[:, None]
            unit = np.where(is_defined, climbed, unit)
            vectors = np.where(is_defined, np.where(is_up[:, None], high_vectors, low_vectors), vectors)
            gains = values - reached
            reached = np.fmax(values, reached)
            scale = max(np.nanmax(np.abs(reached)), np.finfo(np.float64).tiny)
            best = np.where(is_up, np.nanmax(reached[is_up]), np.nanmax(reached[~is_up]))
            # A row behind the best one counts only while, at its present pace, it could still come first.
            is_moving = (gains > _TOLERANCE * scale) | ~self.is_at_rest
            if not (is_moving & (reached + gains * turns_left >= best)).any():
                status = Status.CONVERGED
                break
        return self._verdict(unit, reached, status)

    def _pool(self) -> Matrix:
        """Return the points to begin from: the centre, some corners, and a Latin hypercube."""
        dim, count, corners = self.box.dim, self.pool, self.pool // 4
        hypercube = self.rng.permuted(np.tile(np.arange(count), (dim, 1)), axis=1).T
        unit: Matrix = (hypercube + self.rng.random((count, dim))) / count
        unit[1 : 1 + corners] = self.rng.integers(0, 2, (corners, dim))
        unit[0], unit[1], unit[2] = 0.5, 0.0, 1.0
        unit[3], unit[4] = self._steep_corner(1.0), self._steep_corner(-1.0)
        return unit

    def _steep_corner(self, sign: float) -> Vector:
        """Return a corner where the trace of the Hessian is large (sign 1) or small (-1).

        Where f is a sum of parts, an eigenvector sees one part, and its climb leaves the others as they are. The trace
        sees all: v of random signs have its gradient for a mean (Hutchinson, Commun. Stat. Simul. 1990).
        """
        corner: Vector = np.full(self.box.dim, 0.5)
        for _ in range(2):  # from a corner, the gradient can point to another
            rows = np.tile(corner, (2 * self.climbers, 1))
            signs = self.rng.choice((-1.0, 1.0), rows.shape)
            slopes = self.function.curvatures(self._points(rows), signs)[1]
            corner = np.where(sign * slopes.mean(axis=0) > 0, 1.0, 0.0)
        return corner

    def _points(self, unit: Matrix) -> Matrix:
        return self.box.clip(self.box.lower + unit * self.width)

    def _spectra(self, unit: Matrix) -> tuple[Vector, Vector, Matrix, Matrix]:
        points = self._points(unit)
        pairs = extreme_pairs(self.function, points, self.rng)
        # The Hessian can be a number where the function is none: that of log is, below zero.
        nothing = np.where(np.isfinite(self.function.values(points)), 0.0, np.nan)
        lowest, highest = pairs.lowest + nothing, pairs.highest + nothing
        self.is_partly_finite |= bool(np.isnan(highest).any())
        return lowest, highest, pairs.lowest_vectors, pairs.highest_vectors

    def _curvatures(self, unit: Matrix, vectors: Matrix) -> tuple[Vector, Matrix]:
        """Return what the rows climb, v'H(x)v with their sign, and its gradient by the unit coordinates."""
        values, slopes = self.function.curvatures(self._points(unit), vectors)
        is_finite = np.isfinite(values) & np.isfinite(slopes).all(axis=1)
        self.is_partly_finite |= not is_finite.all()
        slopes = np.where(is_finite[:, None], slopes, 0.0) * self.width * self.signs[:, None]
        return np.where(is_finite, values * self.signs, -np.inf), slopes

    def _climb(self, unit: Matrix, vectors: Matrix) -> Matrix:
        """Climb in x with v fixed: projected gradient, step lengths of Barzilai and Borwein (IMA J. Num. Anal. 1988).

        The very first step of half of the climbs goes to the corner that the gradient points at: curvature often grows
        up to the border. Step lengths outlive the turn, for the vectors change less and less.
        """
        values, slopes = self._curvatures(unit, vectors)
        steepest = np.abs(slopes).max(axis=1)
        across = 1.0 / np.where(steepest > 0, steepest, 1.0)
        self.is_at_rest = steepest == 0
        self.steps = np.where(np.isnan(self.steps), _FIRST * across, self.steps)
        for _ in range(_CLIMBS):
            with np.errstate(invalid="ignore"):
                ahead = np.where(slopes == 0, 0.0, slopes * self.steps[:, None])
            trial = np.clip(unit + ahead, 0.0, 1.0)
            moves = trial - unit
            trial_values, trial_slopes = self._curvatures(trial, vectors)
            is_better = trial_values > values + 1e-4 * (slopes * moves).sum(axis=1)
            gains = np.where(is_better, trial_values - values, 0.0)
            self.is_at_rest |= np.where(
                is_better, gains <= _TOLERANCE / 10 * np.abs(values), np.abs(moves).max(axis=1) < 1e-6
            )
            bend = -((trial_slopes - slopes) * moves).sum(axis=1)
            length = (moves * moves).sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                longer = np.where(bend > 1e-12 * length, length / bend, 2 * across)
            shorter = np.where(np.isinf(self.steps), across, np.minimum(self.steps, across) / 4)
            self.steps = np.where(is_better, longer, shorter)
            unit = np.where(is_better[:, None], trial, unit)
            values = np.where(is_better, trial_values, values)
            slopes = np.where(is_better[:, None], trial_slopes, slopes)
            if self.is_at_rest.all():
                break
        return unit

    def _verdict(self, unit: Matrix, reached: Vector, status: Status) -> Extremes:
        """Return the extremes of the best points of each side, by their whole spectra."""
        best: list[tuple[float, Vector]] = []
        points = self._points(unit)
        margin = _CLOSE * np.nanmax(np.abs(reached))
        for sign in (-1.0, 1.0):
            (side,) = np.nonzero((self.signs == sign) & ~np.isnan(reached))
            side = side[np.argsort(-reached[side], kind="stable")]
            close = side[reached[side] >= reached[side[0]] - margin]
            # Many climbs end in the same corner.
            _, first = np.unique(points[close], axis=0, return_index=True)
            order = close[np.sort(first)][:_FINALISTS]
            spectra = [exact_extremes(self.function.hessian(points[at])) for at in order]
            values = [pair[0] if sign < 0 else pair[1] for pair in spectra]
            at = int(np.nanargmin(values)) if sign < 0 else int(np.nanargmax(values))
            best.append((values[at], points[order[at]]))
        (lowest, lowest_at), (highest, highest_at) = best
        if not self.function.is_smooth:
            status = Status.KINKED
        elif self.is_partly_finite:
            status = Status.PARTLY_FINITE
        return Extremes(lowest, highest, status, lowest_at, highest_at)


def _chosen(unit: Matrix, values: Vector, count: int) -> NDArray[np.intp]:
    """Return the `count` rows to climb from: the highest, and then those that are far from anything higher.

    The highest alone may all lie on one hill; a row that nothing near exceeds is on another.
    """
    order = np.argsort(np.nan_to_num(-values, nan=np.inf), kind="stable")
    ranked = unit[order]
    squares = (ranked * ranked).sum(axis=1)
    distances = squares[:, None] + squares - 2 * ranked @ ranked.T
    distances[np.triu_indices(len(ranked))] = np.inf
    best = count // 2
    apart = best + np.argsort(-distances.min(axis=1)[best:], kind="stable")
    chosen: NDArray[np.intp] = order[np.concatenate([np.arange(best), apart[: count - best]])]
    return chosen
