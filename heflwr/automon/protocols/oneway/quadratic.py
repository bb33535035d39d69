"""The one-way protocol for a constant Hessian: the range of f over a slab zone, in closed form around every centre."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.protocols.oneway.model import Drifts, Model
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

PARTS = (0.03, 0.06, 0.12, 0.25, 0.5, 0.8, sqrt(2))
"""Reaches to choose from; at the last the ball touches the slab and cuts nothing."""


class QuadraticCertifier:
    """Slabs along the gradient at the centre, for functions with a constant Hessian H = H+ + H-.

    Around another centre, moved by m, f(c + u) - f(c) = g.u + p+(u) - p-(u) + (L+ m).(L+ u) - (L- m).(L- u), with g of
    the zone; its first part stays within the depth by the zone, the rest is bounded by Cauchy and Schwarz, and where it
    falls against the square that it meets, by the top of that parabola.

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
        self.guarantee = Guarantee.EXACT if function.is_linear else Guarantee.GUARANTEED
        self.reason = LINEAR if function.is_linear else CONSTANT
        self.longest = inf

    def zone(self, centre: Floats) -> SlabZone:
        """A zone around `centre`, shape (d,), complete."""
        gradient = np.asarray(self._function.gradient(centre), dtype=np.float64)
        if len(self._model.ways) > 1:
            self._model.choose(self._drifts(gradient), 1.0, PARTS, inf)
        depth = self._model.share * self._error_bound
        reach = self._model.part * sqrt(2 * depth)
        return SlabZone(gradient, depth, reach, factor=self._factor, positive=self._positive)

    def adopt(self, zone: DriftZone, centre: Floats) -> None:
        """`zone`, the last that was made, around `centre`, is the present one from now on."""
        assert isinstance(zone, SlabZone)
        self._zone, self._centre = zone, centre.copy()

    def range(self, centre: Floats) -> Range | None:
        """The lowest and the highest f over centre + the present zone; None if they are more than two bounds apart."""
        zone = self._zone
        assert zone is not None
        rise, fall = (sqrt(float(half.dot(half))) for half in self._halves(centre - self._centre))
        reach = min(zone.reach, sqrt(4 * zone.depth))
        up = zone.depth + rise * reach + _top(fall, reach)
        down = zone.depth + fall * reach + _top(rise, reach)
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

    def _drifts(self, gradient: Floats) -> Drifts:
        ways = np.array(self._model.ways)
        squares = np.square(ways @ self._factor.T)
        rise, fall = squares[:, : self._positive].sum(axis=1), squares[:, self._positive :].sum(axis=1)
        up, down = (float(half.dot(half)) for half in self._halves(ways.mean(axis=0)))
        tilt, square = sqrt(up) + sqrt(down), (up + down) / 2
        return Drifts(ways @ gradient, rise / 2, fall / 2, np.sqrt(np.maximum(rise, fall)), tilt, square)


def _top(slope: float, reach: float) -> float:
    """Return the most of slope y - y^2 / 2 over 0 <= y <= reach."""
    return 0.5 * slope * slope if slope <= reach else slope * reach - 0.5 * reach * reach
