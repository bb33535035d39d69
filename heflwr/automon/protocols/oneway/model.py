"""How large a slab zone should be: the fewest messages for drifts like those of late, by a model of both costs.

While every node goes one way of late, nodes report 1 / (lengths of its way to the border) times each, and the centre
moves by the mean way, which it may do 1 / moves times before a new zone is due. A large zone saves reports and leaves
little of the bound for the centre.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heflwr.automon.zones.zone import Floats

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.94, 0.97)
"""Shares of the bound that a zone may use."""

MEMORY = 3
"""Ways a node that are remembered."""

MOST = 512
"""Ways that are remembered at all; more are sampled evenly."""

CORRECTION = 0.3
"""Weight of the newest zone in `Model.toll`."""


LOOKED_AT = 128
"""Ways that the costs are weighed on."""


@dataclass(frozen=True, eq=False)
class Drifts:
    """Ways of late as a zone sees them; every array has one number a way, shape (k,).

    f changes along t lengths of a way by t slope + t^2 rise at most and by t slope - t^2 fall at least.
    """

    slopes: Floats
    rises: Floats
    falls: Floats
    extents: Floats
    """Lengths in the norm of the ball."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """Zones to choose from, one number each in every array, shape (k,)."""

    shares: Floats
    """Of the bound, for the depth of the slab."""
    parts: Floats
    """Reach of the ball, in lengths over which f bends by the depth."""
    stiffness: Floats
    """How many times the faces bend as f does."""

    @classmethod
    def of(cls, parts: Sequence[float], stiffness: Sequence[float] = (1.0,)) -> Sizes:
        """All of SHARES with each of the others."""
        grids = np.meshgrid(SHARES, stiffness, parts, indexing="ij")
        shares, stiffnesses, every_part = (grid.ravel() for grid in grids)
        return cls(shares, every_part, stiffnesses)


class Model:
    """Chooses share and reach; learns by how much the reports of a kind of data differ from the model's."""

    def __init__(self, error_bound: float, share: float, part: float) -> None:
        self._error_bound = error_bound
        self.share, self.part, self.stiffness = share, part, 1.0
        """Of the zone that was chosen; see `Sizes`."""
        self.ways: list[Floats] = []
        self._toll = 1.0
        self._expected = 0.0

    def learn(self, ways: Sequence[Floats], reports: int, nodes: int) -> None:
        """Takes what happened in a zone: its ways, how many reports, among how many nodes."""
        newest = ways[:: 1 + len(ways) // MOST]
        self.ways = [*self.ways, *newest][-min(MEMORY * nodes, MOST) :]
        if self._expected > 0 and reports > 0:
            self._toll *= (reports / nodes / self._expected) ** CORRECTION
            self._toll = min(max(self._toll, 0.1), 10.0)

    def choose(self, sizes: Sizes, drifts: Drifts, bend: float, furthest: float, moves: Moves) -> None:
        """Sets share, part and stiffness to those with the least cost.

        Args:
            sizes: To choose from.
            drifts: The ways of late.
            bend: f bends by bend |u|^2 / 2 in the norm of the ball, > 0.
            furthest: The reach is not larger.
            moves: (what is left of both bounds, reach, stiffness) -> how many zones the mean way of the centre takes.
        """
        depths = sizes.shares * self._error_bound
        left = 2 * (1 - sizes.shares) * self._error_bound
        reaches = np.minimum(sizes.parts * np.sqrt(2 * depths / bend), furthest)
        deep, stiff = depths[:, None], sizes.stiffness[:, None]
        rise, fall = (
            _exits(slopes, stiff * bends, deep)
            for slopes, bends in ((drifts.slopes, drifts.rises), (-drifts.slopes, drifts.falls))
        )
        exits = np.maximum(np.maximum(rise, fall), drifts.extents / reaches[:, None]).mean(axis=1)
        used = moves(left, reaches, sizes.stiffness)
        best = int(np.argmin(self._toll * exits + used))
        self.share, self.part = float(sizes.shares[best]), float(sizes.parts[best])
        self.stiffness = float(sizes.stiffness[best])
        self._expected = float(exits[best] / used[best]) if used[best] > 0 else 0.0


Moves = Callable[[Floats, Floats, Floats], Floats]


def _exits(slopes: Floats, bends: Floats, depth: Floats) -> Floats:
    """1 / t for the t > 0 with slope t + bend t^2 = depth; 0 where there is none."""
    exits: Floats = (slopes + np.sqrt(slopes * slopes + 4 * bends * depth)) / (2 * depth)
    return exits
