"""Zones from affine bounds of f on a box that is shrunk until they fit the thresholds: of networks and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.affine_bounds import AffineBounds
from heflwr.automon.answer import Guarantee
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.zones.affine import AffineZone
from heflwr.automon.zones.dc import neighbourhood

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.zone import Floats

REASON = "affine functions above and below f on a box around x0 keep it within the thresholds"

STEP = 1.5
"""Factor between two sizes of the box that are tried; the best of them is at most a sixth worse than the very best."""

TRIES = 60
"""Sizes tried in one direction: STEP to this power is 4e10."""


class Affine:
    """Derives zones from affine bounds; a function of x0 alone, so that a restarted coordinator finds the same zone.

    Args:
        function: What is monitored, with a `program`.
        error_bound: The zone keeps f within f(x0) +- error_bound, > 0.

    Raises:
        UnsupportedFunction: f has no program, or one with an operation that has no affine bounds.
    """

    has_neighbourhood = False
    guarantee = Guarantee.GUARANTEED
    reason = REASON

    def __init__(self, function: Function, error_bound: float) -> None:
        self._function, self._error_bound = function, error_bound
        self._bounds = AffineBounds(function.program)

    def zone(self, reference: Floats, radius: float) -> AffineZone:
        """The zone around `reference`, in a box of half-side `radius` at most.

        The size of the box is chosen so that the ball around x0 that fits the zone is large, its radius measured along
        the axes by the box and across the two affine functions by their slopes.
        """
        function = self._function
        value, gradient = float(function.value(reference)), np.asarray(function.gradient(reference), dtype=np.float64)
        if not np.isfinite(value):
            raise UnsupportedFunction(f"f is not finite at x0 = {reference}")
        steepness = float(np.linalg.norm(gradient))
        guess = self._error_bound / steepness if np.isfinite(steepness) and steepness > 0 else 1.0
        size = min(guess, radius)
        best, zone = self._attempt(reference, value, size)
        # Where the first box is too large for any bounds, so are all larger ones.
        for factor in (1 / STEP, STEP) if zone is None else (STEP, 1 / STEP):
            at = size
            for _ in range(TRIES):
                at *= factor
                room, candidate = self._attempt(reference, value, at) if at <= radius else (0.0, None)
                if candidate is not None and (zone is None or room > best):
                    best, zone = room, candidate
                elif zone is not None:
                    break
        if zone is None:
            raise UnsupportedFunction(
                f"no box around x0 = {reference} has affine bounds within {self._error_bound} of f"
            )
        return zone.finished(function)

    def _attempt(self, reference: Floats, value: float, size: float) -> tuple[float, AffineZone | None]:
        """The zone for one size of the box, and the radius of the ball that fits it; None where x0 does not."""
        box = neighbourhood(self._function.domain, reference, size)
        assert box is not None
        bounds = self._bounds.on(box.lower, box.upper)
        if not bounds.is_finite:
            return 0.0, None
        room_above = value + self._error_bound - float(bounds.above @ reference) - bounds.above_offset
        room_below = float(bounds.below @ reference) + bounds.below_offset - value + self._error_bound
        if not (room_above >= 0 and room_below >= 0):
            return 0.0, None
        with np.errstate(divide="ignore", invalid="ignore"):
            across = np.array([room_above, room_below]) / [np.linalg.norm(bounds.above), np.linalg.norm(bounds.below)]
        ball = float(min(size, np.nanmin([*across, np.inf])))
        return ball, AffineZone(reference, value, bounds.above, bounds.below, room_above, room_below, size)
