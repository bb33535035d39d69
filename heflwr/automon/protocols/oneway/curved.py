"""The one-way protocol for any smooth function: round slab zones, and bounds of f over them from its curvature."""

from __future__ import annotations

from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

from heflwr.automon.protocols.oneway.model import Drifts, Model, Sizes
from heflwr.automon.zones.slab import SlabZone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heflwr.automon.answer import Guarantee
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.oneway.certifier import Range
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats

FURTHEST = 4.0
"""The reach is at most this many of the longest ways that were reported."""

FAR = 1000.0
"""A zone of everything reaches so many of the longest ways that were reported, where they are long."""

TURNS = 8
"""Looks for a reach that fits the curvature within it."""

NEAR = 0.1
"""A reach this close to the wanted one, in its share, will do."""


class Surroundings(Protocol):
    """What is known of f near a centre."""

    @property
    def guarantee(self) -> Guarantee:
        """What backs it."""

    @property
    def reason(self) -> str:
        """Why, in words."""

    @property
    def parts(self) -> Sequence[float]:
        """Reaches to choose from, in lengths over which f bends by the depth."""

    @property
    def sight(self) -> float:
        """A reach so long that a range over it is worth asking for before anything else; 0 where it is not."""

    def bends(self, centre: Floats, reach: float) -> tuple[float, float]:
        """How f bends within reach of `centre`: by at most rising |u|^2 / 2 up and falling |u|^2 / 2 down."""

    def zone(self, gradient: Floats, depth: float, reach: float, bends: tuple[float, float]) -> SlabZone:
        """The zone that may use up `depth` of the bound."""

    def adopt(self) -> None:
        """The zone that was made last is the present one from now on."""

    def range(self, zone: SlabZone, centre: Floats) -> Range:
        """The lowest and the highest f over centre + zone; infinite where they cannot be told."""


class CurvedCertifier:
    """Slabs along the gradient at the centre, cut by a ball.

    Args:
        function: What is monitored.
        error_bound: Half of the widest range of f, > 0.
        surroundings: What is known of f near a centre.
    """

    def __init__(self, function: Function, error_bound: float, surroundings: Surroundings) -> None:
        self._function = function
        self._error_bound = error_bound
        self._surroundings = surroundings
        self._model = Model(error_bound, share=0.8, part=0.6)
        self._reach = 0.0
        self._zone: SlabZone | None = None
        self._stays_within = surroundings.sight > 0  # two bounds wherever the nodes go, as far as is known
        self.longest = inf

    @property
    def guarantee(self) -> Guarantee:
        """What backs the bound."""
        return self._surroundings.guarantee

    @property
    def reason(self) -> str:
        """Why, in words."""
        return self._surroundings.reason

    def zone(self, centre: Floats) -> SlabZone:
        """A zone around `centre`, shape (d,), complete."""
        if self._stays_within:
            reach = self._surroundings.sight
            if isfinite(self.longest):  # else nobody has reported twice
                reach = max(reach, FAR * self.longest)
            everything = SlabZone(np.zeros_like(centre), self._error_bound, reach, is_round=True)
            lowest, highest = self._surroundings.range(everything, centre)
            self._stays_within = highest - lowest <= 2 * self._error_bound
            if self._stays_within:
                return everything
        gradient = np.asarray(self._function.gradient(centre), dtype=np.float64)
        reach, bends = self._ball(centre)
        bend = max(bends)
        if len(self._model.ways) > 1 and bend > 0:
            self._choose(centre, gradient, bends)
            reach, bends = self._ball(centre)
        depth = self._model.share * self._error_bound
        return self._surroundings.zone(gradient, depth, reach, bends)

    def adopt(self, zone: DriftZone, centre: Floats) -> None:
        """`zone`, the last that was made, around `centre`, is the present one from now on."""
        assert isinstance(zone, SlabZone)
        self._zone, self._reach = zone, zone.reach
        self._surroundings.adopt()

    def range(self, centre: Floats) -> Range | None:
        """The lowest and the highest f over centre + the present zone; None if they are more than two bounds apart."""
        assert self._zone is not None
        lowest, highest = self._surroundings.range(self._zone, centre)
        return (lowest, highest) if highest - lowest <= 2 * self._error_bound else None

    def learn(self, ways: Sequence[Floats], reports: int, nodes: int) -> None:
        """Weighs the reports since the last zone, and their ways, against the `nodes` messages that a new one costs."""
        self._model.learn(ways, reports, nodes)

    @property
    def _furthest(self) -> float:
        domain = self._function.domain
        furthest = FURTHEST * self.longest if self.longest > 0 else 1.0
        return furthest if domain is None else min(furthest, float((domain.upper - domain.lower).max()))

    def _ball(self, centre: Floats) -> tuple[float, tuple[float, float]]:
        """A reach with the bends within it: `part` of the way to where f has bent by the depth."""
        depth, furthest = self._model.share * self._error_bound, self._furthest
        reach = min(self._reach, furthest) if self._reach > 0 else furthest
        for turn in range(TURNS):
            bends = self._surroundings.bends(centre, reach)
            bend = max(bends)
            wanted = min(self._model.part * sqrt(2 * depth / bend), furthest) if bend > 0 else furthest
            if abs(wanted - reach) <= NEAR * reach or turn == TURNS - 1:
                break
            reach = sqrt(wanted * reach) if np.isfinite(bend) else reach / 4
        return reach, bends

    def _choose(self, centre: Floats, gradient: Floats, bends: tuple[float, float]) -> None:
        ways = np.array(self._model.ways)
        squares = np.square(ways).sum(axis=1)
        rising, falling = bends
        drifts = Drifts(ways @ gradient, rising * squares / 2, falling * squares / 2, np.sqrt(squares))
        turn = np.asarray(self._function.hvp(centre, ways.mean(axis=0)))
        tilt = 2 * sqrt(float(turn.dot(turn)))  # of the gradient on the mean way, above and below together

        def moves(left: Floats, reach: Floats, stiffness: Floats) -> Floats:
            return tilt * reach / left

        self._model.choose(Sizes.of(self._surroundings.parts), drifts, max(bends), self._furthest, moves)


def slanted(slope: Floats, zone: SlabZone, bend: float, own: float) -> float:
    """Upper bound of slope . u + bend |u|^2 / 2 over a round zone with the bend `own` on that side.

    For every share s in [0, 1] of the slab: s (g.u + own |u|^2 / 2) + (slope - s g).u + (bend - s own) |u|^2 / 2.
    """
    half = zone.reach * zone.reach / 2
    lowest = inf
    for share in SLAB_SHARES:
        rest = slope - share * zone.gradient
        most = share * zone.depth + sqrt(float(rest.dot(rest))) * zone.reach
        lowest = min(lowest, most + max(bend - share * own, 0.0) * half)
    return lowest


SLAB_SHARES = tuple(step / 8 for step in range(9))
