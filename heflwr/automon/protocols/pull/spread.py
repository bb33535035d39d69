"""Where the mean drift of a fleet can be, when its nodes were checked against different zones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heflwr.automon.protocols.pull.polytope import Polytope
from heflwr.automon.zones.zone import Floats


@dataclass(frozen=True, eq=False)
class Spread:
    """The sets {sum of share_k u_k + v: u_k in zone k, |v| <= box}: the support of a sum is the sum of the supports.

    Args:
        parts: (share of the nodes, the zone that their drifts are in); nodes with no drift are in none.
        box: Half-widths, shape (d,), >= 0, may be infinite: of nodes that nobody knows, shared by all nodes.
    """

    parts: tuple[tuple[float, Polytope], ...]
    box: Floats

    @classmethod
    def of(cls, zone: Polytope) -> Spread:
        """The spread of a fleet in which every node is in one zone."""
        return cls(((1.0, zone),), np.zeros(len(zone.reach)))

    @cached_property
    def reach(self) -> Floats:
        """Half-widths of the box around it, shape (d,)."""
        return sum((share * zone.reach for share, zone in self.parts), start=self.box)

    def support(self, direction: Floats) -> float:
        """Upper bound of direction . u over it, direction of shape (d,)."""
        return _against(direction, self.box) + sum(share * zone.support(direction) for share, zone in self.parts)


def _against(direction: Floats, box: Floats) -> float:
    held = direction != 0
    return float(np.abs(direction[held]) @ box[held])
