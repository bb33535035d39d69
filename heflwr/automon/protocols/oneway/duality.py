"""The most that a quadratic can rise over a slab zone around a centre that has moved, by weak duality.

With a = L+ u, b = L- u, A = L+ m, B = L- m and k = the zone's stiffness, f rises by
F(u) = g.u + A.a - B.b + |a|^2 / 2 - |b|^2 / 2 at most, and the zone is
g.u + k |a|^2 / 2 <= s, -g.u + k |b|^2 / 2 <= s, |a| <= r, |b| <= r.
For all p, q >= 0 the first two, times p and q, are subtracted from F; with t = 1 - p + q and g.u = G.a + J.b what is
left falls apart into a part of a and a part of b:

    F <= (p + q) s + max over y <= r of (|t G + A| y - (k p - 1) y^2 / 2)
                   + max over y <= r of (|t J - B| y - (k q + 1) y^2 / 2)

Any p and q give a bound, so the least of a few is one. Where g is no G, J, only those with t = 0 will do.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from heflwr.automon.zones.slab import SlabZone
    from heflwr.automon.zones.zone import Floats

_RISES = np.array([0.0, 0.3, 0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0])
_FALLS = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0])
P, Q = (grid.ravel() for grid in np.meshgrid(_RISES, _FALLS))
"""The multipliers that are tried."""

SPANNED = 1e-12
"""A gradient that is so near the rows of the factor, relative to its length, is among them but for rounding."""


class Gradient:
    """A zone's gradient g in the coordinates a and b: g.u = G.a + J.b.

    Args:
        zone: With a factor; its rows are orthogonal.
    """

    def __init__(self, zone: SlabZone) -> None:
        factor, positive = zone.factor, zone.positive
        assert factor is not None
        parts = (factor @ zone.gradient) / np.square(factor).sum(axis=1)
        rest = zone.gradient - factor.T @ parts
        self.rising, self.falling = parts[:positive], parts[positive:]
        is_spanned = float(rest @ rest) <= SPANNED**2 * float(zone.gradient @ zone.gradient)
        usable = np.ones(len(P), dtype=bool) if is_spanned else np.isclose(1 - P + Q, 0)
        self.p, self.q = P[usable], Q[usable]


def most(zone: SlabZone, gradient: Gradient, rise: Floats, fall: Floats) -> tuple[float, float]:
    """Return by how much f rises and falls at most over a zone, around a centre that has moved.

    Args:
        zone: With a factor.
        gradient: The zone's.
        rise: L+ m for the move m of the centre.
        fall: L- m.
    """
    reach = reach_of(zone)
    up = _most(zone, reach, gradient, (gradient.rising, rise), (gradient.falling, fall))
    down = _most(zone, reach, gradient, (-gradient.falling, fall), (-gradient.rising, rise))
    return up, down


def reach_of(zone: SlabZone) -> float:
    """Return the most that |a| or |b| can be: both faces together say k (|a|^2 + |b|^2) / 2 <= 2 s."""
    return min(zone.reach, sqrt(4 * zone.depth / zone.rising))


def _most(
    zone: SlabZone, reach: float, gradient: Gradient, bent: tuple[Floats, Floats], counter: tuple[Floats, Floats]
) -> float:
    p, q, stiffness = gradient.p, gradient.q, zone.rising
    t = 1 - p + q
    (along, move), (against, counter_move) = bent, counter
    first = _lengths(t, along, move)
    second = _lengths(t, against, -counter_move)
    bounds = (p + q) * zone.depth + top(first, stiffness * p - 1, reach) + top(second, stiffness * q + 1, reach)
    return float(bounds.min())


def _lengths(t: Floats, vector: Floats, offset: Floats) -> Floats:
    """|t vector + offset| for every t."""
    square = t * t * float(vector @ vector) + 2 * t * float(vector @ offset) + float(offset @ offset)
    lengths: Floats = np.sqrt(np.maximum(square, 0.0))
    return lengths


def top(slope: Floats | float, bend: Floats | float, reach: Floats | float) -> Floats:
    """Return the most of slope y - bend y^2 / 2 over 0 <= y <= reach, slope >= 0; all of one shape or a number."""
    is_reached = np.greater(np.multiply(bend, reach), slope)
    y = np.where(is_reached, slope / np.where(is_reached, bend, 1.0), reach)
    highest: Floats = slope * y - bend * y * y / 2
    return highest
