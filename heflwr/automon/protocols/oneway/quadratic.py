"""The one-way protocol for a constant Hessian: the range of f over a slab zone, in closed form around every centre."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.protocols.oneway.duality import Gradient, most, top
from heflwr.automon.protocols.oneway.model import LOOKED_AT, Drifts, Model, Sizes
from heflwr.automon.zones.quadratic import halves
from heflwr.automon.zones.slab import SlabZone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heflwr.automon.function import Function
    from heflwr.automon.protocols.oneway.certifier import Range
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats

LINEAR = "f is linear, so a slab is the admissible region itself"
CONSTANT = "the Hessian is constant, so the range of f over the zone is bounded in closed form"

SIZES = Sizes.of(parts=(0.03, 0.06, 0.12, 0.25, 0.5, 0.8, sqrt(2)), stiffness=(1.0, 1.25, 1.6, 2.0))
"""At the largest reach the ball touches the slab and cuts nothing; faces stiffer than f leave the centre room."""

BISECTIONS = 14
"""For the moves of the centre, from 1e-4 to 1e4: within 0.1 %."""


class QuadraticCertifier:
    """Slabs along the gradient at the centre, for functions with a constant Hessian H = H+ + H-.

    Around another centre, moved by m, f(c + u) - f(c) = g.u + p+(u) - p-(u) + (L+ m).(L+ u) - (L- m).(L- u), with g of
    the zone; `duality` bounds it over the zone.

    Args:
        function: What is monitored.
        error_bound: Half of the widest range of f, > 0.
    """

    def __init__(self, function: Function, error_bound: float) -> None:
        self._function = function
        self._error_bound = error_bound
        self._model = Model(error_bound, share=0.8, part=0.5)
        self._factor, self._positive = halves(function.hessian(np.zeros(function.dim)))
        self._centre = np.zeros(function.dim)
        self._zone: SlabZone | None = None
        self._gradient: Gradient | None = None
        self.guarantee = Guarantee.EXACT if function.is_linear else Guarantee.GUARANTEED
        self.reason = LINEAR if function.is_linear else CONSTANT
        self.longest = inf

    def zone(self, centre: Floats) -> SlabZone:
        """A zone around `centre`, shape (d,), complete."""
        gradient = np.asarray(self._function.gradient(centre), dtype=np.float64)
        if len(self._model.ways) > 1:
            self._choose(gradient)
        depth, bends = self._model.share * self._error_bound, (self._model.stiffness,) * 2
        reach = self._model.part * sqrt(2 * depth)
        return SlabZone(gradient, depth, reach, *bends, factor=self._factor, positive=self._positive)

    def adopt(self, zone: DriftZone, centre: Floats) -> None:
        """`zone`, the last that was made, around `centre`, is the present one from now on."""
        assert isinstance(zone, SlabZone)
        self._zone, self._gradient, self._centre = zone, Gradient(zone), centre.copy()

    def range(self, centre: Floats) -> Range | None:
        """The lowest and the highest f over centre + the present zone; None if they are more than two bounds apart."""
        assert self._zone is not None
        assert self._gradient is not None
        up, down = most(self._zone, self._gradient, *self._halves(centre - self._centre))
        if not up + down <= 2 * self._error_bound:
            return None
        value = float(self._function.value(centre))
        return value - down, value + up

    def learn(self, ways: Sequence[Floats], reports: int, nodes: int) -> None:
        """Weighs the reports since the last zone, and their ways, against the `nodes` messages that a new one costs."""
        self._model.learn(ways, reports, nodes)

    def _halves(self, move: Floats) -> tuple[Floats, Floats]:
        image = self._factor @ move
        return image[: self._positive], image[self._positive :]

    def _choose(self, gradient: Floats) -> None:
        ways = np.array(self._model.ways[-LOOKED_AT:])
        squares = np.square(ways @ self._factor.T)
        rise, fall = squares[:, : self._positive].sum(axis=1), squares[:, self._positive :].sum(axis=1)
        drifts = Drifts(ways @ gradient, rise / 2, fall / 2, np.sqrt(np.maximum(rise, fall)))
        tilts = [sqrt(float(half.dot(half))) for half in self._halves(ways.mean(axis=0))]

        def moves(left: Floats, reach: Floats, stiffness: Floats) -> Floats:
            """One over the lengths of the mean way that use up what is left."""
            low, high = np.full(len(left), 1e-4), np.full(len(left), 1e4)
            for _ in range(BISECTIONS):
                middle = np.sqrt(low * high)
                used = np.zeros(len(left))
                for tilt in tilts:
                    used += top(middle * tilt, stiffness - 1, reach) + top(middle * tilt, 1.0, reach)
                low, high = np.where(used <= left, middle, low), np.where(used <= left, high, middle)
            return 1 / low

        self._model.choose(SIZES, drifts, 1.0, inf, moves)
