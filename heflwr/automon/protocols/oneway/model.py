"""How large a slab zone should be: the fewest messages for drifts like those of late, by a model of both costs.

While every node goes one way of late, nodes report 1 / (lengths of its way to the border) times each, and the centre
moves by the mean way, which it may do 1 / moves times before a new zone is due. A large zone saves reports and leaves
little of the bound for the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt

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
    tilt: float
    """How much the gradient turns while the centre goes the mean way, in the dual norm, above and below together."""
    square: float
    """What f bends on that way, above and below together."""


class Model:
    """Chooses share and reach; learns by how much the reports of a kind of data differ from the model's."""

    def __init__(self, error_bound: float, share: float, part: float) -> None:
        self._error_bound = error_bound
        self.share = share
        """Of the bound, for the depth of the slab."""
        self.part = part
        """Reach of the ball, in lengths over which f bends by the depth."""
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

    def choose(self, drifts: Drifts, bend: float, parts: Sequence[float], furthest: float) -> None:
        """Sets share and part.

        Args:
            drifts: The ways of late.
            bend: f bends by bend |u|^2 / 2 in the norm of the ball, > 0.
            parts: To choose from.
            furthest: The reach is not larger.
        """
        lowest = inf
        for share in SHARES:
            depth = share * self._error_bound
            left = 2 * (1 - share) * self._error_bound
            slab = np.maximum(_exits(drifts.slopes, drifts.rises, depth), _exits(-drifts.slopes, drifts.falls, depth))
            for part in parts:
                reach = min(part * sqrt(2 * depth / bend), furthest)
                exits = float(np.maximum(slab, drifts.extents / reach).mean())
                line = drifts.tilt * reach
                moves = (line + sqrt(line * line + 4 * drifts.square * left)) / (2 * left)
                cost = self._toll * exits + moves
                if cost < lowest:
                    lowest, self.share, self.part = cost, share, part
                    self._expected = exits / moves if moves > 0 else 0.0


def _exits(slopes: Floats, bends: Floats, depth: float) -> Floats:
    """1 / t for the t > 0 with slope t + bend t^2 = depth; 0 where there is none."""
    exits: Floats = (slopes + np.sqrt(slopes * slopes + 4 * bends * depth)) / (2 * depth)
    return exits
