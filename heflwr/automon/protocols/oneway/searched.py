"""Surroundings by the search for extreme eigenvalues: for every function, without a proof."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.curvature import extremes
from heflwr.automon.protocols.oneway.curved import slanted
from heflwr.automon.zones.slab import SlabZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.oneway.certifier import Range
    from heflwr.automon.zones.zone import Floats

SEARCHED = "the extreme eigenvalues of the Hessian come from a numerical search that may miss them"

ROOM = 1.5
"""The search covers a box this much wider than the reach, so that the centre may move without a new one."""


class Searched:
    """Extreme eigenvalues in a box around the centre.

    Args:
        function: What is monitored.
        seed: Of the search.
        why_not: Why there is no proof, for the reason.
    """

    guarantee = Guarantee.HEURISTIC
    sight = 0.0
    parts = (0.06, 0.12, 0.25, 0.5, 0.8, sqrt(2))

    def __init__(self, function: Function, *, seed: int = 0, why_not: str = "") -> None:
        self._function = function
        self._seed = seed
        self._searched = f"{SEARCHED}; {why_not}" if why_not else SEARCHED
        self.reason = self._searched
        self._last: tuple[Box, float, float] | None = None
        self._present: tuple[Box, float, float] | None = None

    def bends(self, centre: Floats, reach: float) -> tuple[float, float]:
        """The extreme eigenvalues within reach of `centre`."""
        self._last = self._search(centre, reach)
        return self._last[1:]

    def zone(self, gradient: Floats, depth: float, reach: float, bends: tuple[float, float]) -> SlabZone:
        """The zone that may use up `depth` of the bound."""
        return SlabZone(gradient, depth, reach, *bends, is_round=True)

    def adopt(self) -> None:
        """The zone that was made last is the present one from now on."""
        self._present = self._last

    def range(self, zone: SlabZone, centre: Floats) -> Range:
        """The lowest and the highest f over centre + zone."""
        assert self._present is not None
        inner, (box, rising, falling) = self._box(centre, zone.reach), self._present
        if not ((inner.lower >= box.lower).all() and (inner.upper <= box.upper).all()):
            self._present = self._search(centre, zone.reach)
            _, rising, falling = self._present
        value, gradient = float(self._function.value(centre)), np.asarray(self._function.gradient(centre))
        if not np.isfinite([value, rising, falling, *gradient]).all():
            return -inf, inf
        return value - slanted(gradient, zone, falling, zone.falling), value + slanted(
            gradient, zone, rising, zone.rising
        )

    def _search(self, centre: Floats, reach: float) -> tuple[Box, float, float]:
        box = self._box(centre, ROOM * reach)
        found = extremes(self._function, box, seed=self._seed)
        self.reason = f"{self._searched}. {found.status.value}"
        return box, max(float(found.highest), 0.0), max(-float(found.lowest), 0.0)

    def _box(self, centre: Floats, reach: float) -> Box:
        box, domain = Box.around(centre, reach), self._function.domain
        return box if domain is None else box.intersect(domain)
