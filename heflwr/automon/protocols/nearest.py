"""The nearest point at which a concave function reaches a threshold: where its safe zone has its tangent.

With Lagrange's multiplier m, the nearest q to x0 with f(q) = threshold has q = x0 + m gradient(q), and f(q) grows with
m; so one number is bisected. No accuracy is needed for a zone to be safe, only for it to be large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from heflwr.automon.zones.zone import Floats

STEPS = 36
"""Bisections of the multiplier, to 2^-36 of the range in which it is looked for."""

NEWTON_STEPS = 20
"""At most, of the inner equations, which converge quadratically; few take more than five."""

CLOSE = 1e-14
"""Relative change at which they have converged."""

LARGEST = 1e6
"""Multiplier past which an entropy is as good as its maximum."""


def nearest_variance(reference: Floats, rise: float) -> Floats:
    """The nearest point to x0 = [m, s] where s - |m|^2 is `rise` > 0 more than at x0, shape (d,)."""
    mean, square = reference[:-1], float(reference[-1])
    start = square - mean @ mean

    def at(multiplier: float) -> Floats:
        return np.append(mean / (1 + 2 * multiplier), square + multiplier)

    def has_risen(multiplier: float) -> bool:
        point = at(multiplier)
        return bool(point[-1] - point[:-1] @ point[:-1] - start >= rise)

    return at(_least(has_risen, 0.0, rise))


def nearest_entropy(shares: Floats, threshold: float) -> Floats:
    """The nearest point to `shares`, shape (d,), > 0, of the same sum, where -sum y log y is `threshold`.

    Or the point of that sum where it is highest, if it never gets there.
    """
    total = float(shares.sum())
    if threshold >= total * np.log(len(shares) / total):
        return np.full(len(shares), total / len(shares))

    def at(multiplier: float) -> Floats:
        # y + m log y = share + shift, the shift such that the sum is kept.
        shift = -multiplier
        for _ in range(NEWTON_STEPS):
            y = _solved((shares + shift) / multiplier, multiplier)
            excess = float(y.sum()) - total
            if abs(excess) <= CLOSE * total:
                break
            shift -= excess / float((y / (y + multiplier)).sum())
        return y

    def has_risen(exponent: float) -> bool:
        y = at(np.exp(exponent))
        return bool(-(y * np.log(y)).sum() >= threshold)

    return at(float(np.exp(_least(has_risen, -np.log(LARGEST), np.log(LARGEST)))))


def _solved(b: Floats, multiplier: float) -> Floats:
    """Solves y / multiplier + log y = b for y, by Newton's method in log(y / multiplier), from above."""
    b = b - np.log(multiplier)
    z = np.where(b > 1, np.log(np.maximum(b, 1.0)), b)
    for _ in range(NEWTON_STEPS):
        power = np.exp(z)
        step = (power + z - b) / (power + 1)
        z = z - step
        if np.abs(step).max() <= CLOSE:
            break
    y: Floats = multiplier * np.exp(z)
    return y


def _least(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least number between low and high at which `holds`, which then keeps holding; high where it is not found."""
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
