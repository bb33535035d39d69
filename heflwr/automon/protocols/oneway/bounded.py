"""Surroundings by affine bounds over a box: proved, for functions made of operations that have such bounds."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.affine_bounds import AffineBounds, Bounds
from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.protocols.oneway.curved import slanted
from heflwr.automon.zones.slab import SlabZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.oneway.certifier import Range
    from heflwr.automon.zones.zone import Floats

REASON = "affine functions above and below f on a box around the zone bound its range there"


class Bounded:
    """Affine bounds on the box around the ball.

    Args:
        function: What is monitored, with a `program`.

    Raises:
        UnsupportedFunction: f has no program, or one with an operation that has no affine bounds.
    """

    guarantee = Guarantee.GUARANTEED
    reason = REASON
    sight = 1e9
    parts = (0.06, 0.12, 0.25, 0.4, 0.55, 0.7, 0.85)

    def __init__(self, function: Function) -> None:
        self._function = function
        self._bounds = AffineBounds(function.program)

    def bends(self, centre: Floats, reach: float) -> tuple[float, float]:
        """The least that explain how far the affine bounds are from the tangent, at the border of the ball."""
        bounds = self._on(centre, reach)
        value, gradient = float(self._function.value(centre)), np.asarray(self._function.gradient(centre))
        above, below = bounds.above - gradient, bounds.below - gradient
        up = float(bounds.above @ centre) + bounds.above_offset - value + sqrt(float(above @ above)) * reach
        down = value - float(bounds.below @ centre) - bounds.below_offset + sqrt(float(below @ below)) * reach
        rising, falling = 2 * max(up, 0.0) / reach**2, 2 * max(down, 0.0) / reach**2
        return (rising, falling) if np.isfinite([rising, falling]).all() else (inf, inf)

    def zone(self, gradient: Floats, depth: float, reach: float, bends: tuple[float, float]) -> SlabZone:
        """The zone that may use up `depth` of the bound: its faces are flat, the bends are taken off at once."""
        flat = max(depth - max(bends) * reach * reach / 2, depth / 64)
        return SlabZone(gradient, flat, reach, is_round=True)

    def adopt(self) -> None:
        """The zone that was made last is the present one from now on."""

    def range(self, zone: SlabZone, centre: Floats) -> Range:
        """The lowest and the highest f over centre + zone; infinite where f has no bounds."""
        bounds = self._on(centre, zone.reach)
        if not bounds.is_finite:
            return -inf, inf
        lowest = float(bounds.below @ centre) + bounds.below_offset - slanted(bounds.below, zone, 0.0, 0.0)
        highest = float(bounds.above @ centre) + bounds.above_offset + slanted(bounds.above, zone, 0.0, 0.0)
        return lowest, highest

    def _on(self, centre: Floats, reach: float) -> Bounds:
        box, domain = Box.around(centre, reach), self._function.domain
        box = box if domain is None else box.intersect(domain)
        return self._bounds.on(box.lower, box.upper)
