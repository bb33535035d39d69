"""Straight lines above and below a function of one number on an interval, coordinate by coordinate.

A convex function lies below its chord and above each tangent. A sigmoid is convex on the left of zero and concave on
the right: where an interval has both, the tangent through its far end is the line (Zhang et al., "Efficient neural
network robustness certification with general activation functions", NeurIPS 2018, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Call = Callable[[Floats], Floats]
Line = tuple[Floats, Floats]
"""Slope and intercept."""

BISECTIONS = 12
"""Halvings on the way to a tangent point; the line is sound after each, and hardly lower after more."""


@dataclass(frozen=True)
class Curve:
    """A function of one number and its slope; `bend` says where it is convex (1), concave (-1) or a "sigmoid", "sine".

    Args:
        value: Elementwise.
        slope: Its derivative, or at a kink a number between the slopes on both sides.
        bend: 1 or -1 wherever it is defined, or by the sign of what it is applied to (2: like 1/x), or a sigmoid (3),
            or sin (4).
    """

    value: Call
    slope: Call
    bend: int


def _logistic(x: Floats) -> Floats:
    values: Floats = 0.5 * np.tanh(0.5 * x) + 0.5
    return values


CURVES: dict[str, Curve] = {
    "abs": Curve(np.abs, np.sign, 1),
    "atan": Curve(np.arctan, lambda x: 1 / (1 + x * x), 3),
    "cosh": Curve(np.cosh, np.sinh, 1),
    "exp": Curve(np.exp, np.exp, 1),
    "exp2": Curve(np.exp2, lambda x: np.log(2) * np.exp2(x), 1),
    "expm1": Curve(np.expm1, np.exp, 1),
    "log": Curve(np.log, lambda x: 1 / x, -1),
    "log1p": Curve(np.log1p, lambda x: 1 / (1 + x), -1),
    "logistic": Curve(_logistic, lambda x: _logistic(x) * _logistic(-x), 3),
    "reciprocal": Curve(lambda x: 1 / x, lambda x: -1 / (x * x), 2),
    "relu": Curve(lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0, 1.0, 0.0), 1),
    "rsqrt": Curve(lambda x: 1 / np.sqrt(x), lambda x: -0.5 * x**-1.5, 1),
    "sin": Curve(np.sin, np.cos, 4),
    "sqrt": Curve(np.sqrt, lambda x: 0.5 / np.sqrt(x), -1),
    "square": Curve(np.square, lambda x: 2 * x, 1),
    "tanh": Curve(np.tanh, lambda x: 1 - np.tanh(x) ** 2, 3),
}
"""What can be bounded; everything else is made of these and of products."""


def lines(curve: Curve, low: Floats, high: Floats) -> tuple[Line, Line]:
    """Return the lines below and above the curve on [low, high]; NaN or infinite where it has none."""
    with np.errstate(all="ignore"):
        return _below(curve, low, high), _above(curve, low, high)


def _chord(value: Call, low: Floats, high: Floats) -> Line:
    width = high - low
    slope = np.where(width > 0, (value(high) - value(low)) / np.where(width > 0, width, 1.0), 0.0)
    return slope, np.maximum(value(low) - slope * low, value(high) - slope * high)


def _tangent(curve: Curve, at: Floats) -> Line:
    slope = curve.slope(at)
    return slope, curve.value(at) - slope * at


def _choose(where: NDArray[np.bool_], yes: Line, no: Line) -> Line:
    return np.where(where, yes[0], no[0]), np.where(where, yes[1], no[1])


def _above(curve: Curve, low: Floats, high: Floats) -> Line:
    chord, tangent = _chord(curve.value, low, high), _tangent(curve, 0.5 * (low + high))
    if curve.bend == 1:
        return chord
    if curve.bend == -1:
        return tangent
    if curve.bend == 2:
        nothing = np.full_like(low, np.nan)
        return _choose(low > 0, chord, _choose(high < 0, tangent, (nothing, nothing)))
    if curve.bend == 3:
        slope, intercept = _choose(high <= 0, chord, tangent)
        mixed = (low < 0) & (high > 0)
        if mixed.any():
            slope[mixed], intercept[mixed] = _across(curve, low[mixed], high[mixed])
        return slope, intercept
    return _above_sine(low, high, chord, tangent)


def _below(curve: Curve, low: Floats, high: Floats) -> Line:
    """The line above -curve; for a sigmoid or sine, -curve(-x) is of the same kind."""
    if curve.bend in (3, 4):
        mirrored = Curve(lambda x: -curve.value(-x), lambda x: curve.slope(-x), curve.bend)
        slope, intercept = _above(mirrored, -high, -low)
        return slope, -intercept
    bend = curve.bend if curve.bend == 2 else -curve.bend
    if bend == 2:
        mirrored = Curve(lambda x: -curve.value(-x), lambda x: curve.slope(-x), 2)
        slope, intercept = _above(mirrored, -high, -low)
        return slope, -intercept
    slope, intercept = _above(Curve(lambda x: -curve.value(x), lambda x: -curve.slope(x), bend), low, high)
    return -slope, -intercept


def _across(curve: Curve, low: Floats, high: Floats) -> Line:
    """Above a sigmoid from low < 0 to high > 0: the tangent through the low end, or the chord where it is past high."""

    def clearance(at: Floats) -> Floats:
        result: Floats = curve.value(at) + curve.slope(at) * (low - at) - curve.value(low)
        return result

    left, right = np.zeros_like(high), high
    has_tangent = clearance(right) >= 0
    for _ in range(BISECTIONS):
        middle = 0.5 * (left + right)
        is_clear = clearance(middle) >= 0
        left, right = np.where(is_clear, left, middle), np.where(is_clear, middle, right)
    return _choose(has_tangent, _tangent(curve, right), _chord(curve.value, low, high))


def _above_sine(low: Floats, high: Floats, chord: Line, tangent: Line) -> Line:
    """Above sin: by its bend between two zeros, else by |sin''| <= 1 around the middle, or 1 where that is lower."""
    half = 0.5 * (high - low)
    between = np.floor(low / np.pi) == np.floor(high / np.pi)
    is_concave = np.floor(low / np.pi) % 2 == 0
    parabola = (tangent[0], tangent[1] + 0.5 * half * half)
    flat = (np.zeros_like(low), np.ones_like(low))
    middle = 0.5 * (low + high)
    rough = _choose(parabola[0] * middle + parabola[1] <= 1, parabola, flat)
    return _choose(between, _choose(is_concave, tangent, chord), rough)
