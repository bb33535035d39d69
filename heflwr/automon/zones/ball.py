"""The original geometric method's zone: the ball between the reference point and x must be admissible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from heflwr.automon.box import Box
from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind, Zone

Gradient = Callable[[Floats], Floats]

STEPS = 30
"""Bisections of the multiplier: the bound holds after any number, and is tight to a billionth after these."""

CLIMBS = 12
"""Steps of a search from each of its starts, where f has no constant Hessian."""

SHARES = 0.5 ** np.arange(6)
"""How much of a step a search tries."""

WIDTH = 1e-5
"""Of the differences that stand for a gradient where the function brings none, relative to max(1, |x|)."""


@dataclass(frozen=True, eq=False)
class BallZone:
    """{x: lower <= f <= upper on the ball whose diameter is the segment from x0 to x}.

    Sharfman, Schuster, Keren, "A geometric approach to monitoring threshold functions over distributed data streams"
    (SIGMOD 2006), Theorem 1: such balls cover the convex hull of x0 and all x_i, where the mean is. The set is convex:
    z is in the ball of x exactly when (z - x0).(z - x) <= 0, so each inadmissible z cuts off a half-space.

    With a constant Hessian (`axes`) the extremes over a ball are bounded by the dual of the trust-region problem, whose
    every multiplier gives a bound. Otherwise they are searched for by climbing, and may be missed.
    """

    reference: Floats
    """x0, shape (d,)."""
    value: float
    lower: float
    upper: float
    is_quadratic: bool
    axes: Floats | None = field(default=None, repr=False)
    """(d, d): eigenvectors of the constant Hessian as columns; the receiver works them out."""
    curvatures: Floats | None = field(default=None, repr=False)
    """(d,): its eigenvalues."""
    function: Callable[[Floats], float] | None = field(default=None, repr=False)
    gradient: Gradient | None = field(default=None, repr=False)
    box: Box | None = field(default=None, repr=False)
    """f's domain: the mean is inside, so only that part of the ball counts."""

    reads_values: ClassVar[bool] = False

    def finished(self, function: Any, previous: Zone | None = None) -> BallZone:
        """Adds f, its gradient, and its Hessian where that is constant."""
        numpy = function.numpy
        gradient = getattr(function, "gradient", None) or (lambda x: differences(numpy, x, WIDTH))
        axes, curvatures = None, None
        if self.is_quadratic and isinstance(previous, BallZone) and previous.axes is not None:
            axes, curvatures = previous.axes, previous.curvatures
        elif self.is_quadratic:
            # A difference of differences is exact for a quadratic, whatever its width.
            hessian = np.array(
                [
                    gradient(self.reference + unit) - gradient(self.reference - unit)
                    for unit in np.eye(len(self.reference))
                ]
            )
            curvatures, axes = np.linalg.eigh(0.25 * (hessian + hessian.T))
        return replace(self, axes=axes, curvatures=curvatures, function=numpy, gradient=gradient, box=function.domain)

    def violation(self, x: Floats) -> ViolationKind | None:
        assert self.function is not None
        assert self.gradient is not None
        with np.errstate(all="ignore"):  # outside f's domain there is a NaN, which is a violation
            centre, radius = 0.5 * (self.reference + x), 0.5 * float(np.linalg.norm(x - self.reference))
            if self.axes is not None and self.curvatures is not None:
                middle, slope = self.function(centre), self.axes.T @ self.gradient(centre)
                highest = middle + rise(slope, self.curvatures, radius)
                lowest = middle - rise(-slope, -self.curvatures, radius)
            else:
                highest, lowest = self._climb(1.0, x, centre, radius), -self._climb(-1.0, x, centre, radius)
        return None if lowest >= self.lower and highest <= self.upper else ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None = None) -> Kinds:
        """`violation` for every row of points (n, d); 0 where there is none."""
        return np.array([self.violation(x) or 0 for x in points], dtype=np.int8)

    def _climb(self, sign: float, x: Floats, centre: Floats, radius: float) -> float:
        """The highest sign * f found in the ball; NaN where f is not defined."""
        assert self.function is not None
        assert self.gradient is not None
        best = -np.inf
        for start in (self.reference, x, centre):
            at = start if self.box is None else self._towards(self.reference, self.box.clip(start), centre, radius)
            height = sign * self.function(at)
            for _ in range(CLIMBS):
                slope = sign * self.gradient(at)
                steepness = float(np.linalg.norm(slope))
                if not steepness > 0:
                    break
                goal = centre + radius * slope / steepness  # the ball's highest point, were f linear
                if self.box is not None:
                    goal = self._towards(at, self.box.clip(goal), centre, radius)
                tried = [at + share * (goal - at) for share in SHARES]
                heights = [sign * self.function(each) for each in tried]
                most = int(np.argmax(heights))
                if not heights[most] > height:
                    break
                at, height = tried[most], heights[most]
            best = float(np.maximum(best, height))  # a NaN stays
        return best

    def _towards(self, start: Floats, goal: Floats, centre: Floats, radius: float) -> Floats:
        """The last point of the segment from `start`, in the ball, to `goal` that is in the ball."""
        step, offset = goal - start, start - centre
        a, b, c = step.dot(step), offset.dot(step), offset.dot(offset) - radius * radius
        if a == 0 or a + 2 * b + c <= 0:
            return goal
        point: Floats = start + (-b + np.sqrt(max(b * b - a * c, 0.0))) / a * step
        return point


def rise(slope: Floats, curvatures: Floats, radius: float) -> float:
    """At least how far slope.s + sum(curvatures s^2) / 2 rises above 0 over |s| <= radius, shapes (d,).

    The dual of the trust-region problem: for every multiplier m past all curvatures and 0,
    m radius^2 / 2 + sum(slope^2 / (m - curvatures)) / 2 is an upper bound, and the least of them is attained.
    """
    slope, curvatures = radius * slope, radius * radius * curvatures  # as over the unit ball
    squares = slope * slope
    floor = max(float(curvatures.max()), 0.0)
    low, high = 0.0, float(np.sqrt(squares.sum()))  # of the multiplier above `floor`
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _shares(squares, (floor - curvatures + middle) ** 2) > 1 else (low, middle)
    return 0.5 * (floor + high + _shares(squares, floor - curvatures + high))


def _shares(squares: Floats, divisors: Floats) -> float:
    """The sum of squares / divisors over those squares that are not zero."""
    return float(np.divide(squares, divisors, out=np.zeros_like(squares), where=squares > 0).sum())


def differences(function: Callable[[Floats], float], x: Floats, width: float) -> Floats:
    """The gradient of f at x by central differences, shape (d,)."""
    steps = width * np.maximum(1.0, np.abs(x))
    rows = np.diag(steps)
    return np.array(
        [(function(x + row) - function(x - row)) / (2 * step) for row, step in zip(rows, steps, strict=True)]
    )
