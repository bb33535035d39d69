"""Where a node of the one-way protocol puts its next anchor, when its local vector has left the zone around the last.

Any anchor within the zone around the local vector is sound. Ahead of a vector that keeps its course the way to the
next report is longer, and behind one that turns back it is too: the node learns which from its own last two ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from heflwr.automon.box import Box
from heflwr.automon.zones.zone import Floats, Zone

LEARNING = 0.3
"""Weight of the newest turn in the lead."""

FURTHEST = 0.8
"""Largest lead, in lengths of the way from the anchor before; 1 would put the vector on the border again."""

SHORTER = 0.5
"""A lead that leaves the zone is cut by this share until it does not."""

CUTS = 8
"""So many times; then the anchor is the vector itself."""


@dataclass(frozen=True, eq=False)
class Anchor:
    """Where a node stands for the coordinator, and what it has learnt of its own ways; a value."""

    at: Floats
    """Where the drift starts, shape (d,)."""
    lead: float = 0.0
    """How far ahead of the vector the next anchor goes, in [-FURTHEST, FURTHEST] lengths of the way."""
    way: Floats | None = None
    """The way to the report before, shape (d,)."""

    def moved(self, x: Floats, zone: Zone, domain: Box | None) -> Anchor:
        """The anchor after a report at x: within the domain, and such that x is inside `zone` around it."""
        way = x - self.at
        lead = self.lead
        if self.way is not None:
            lengths = sqrt(float(way.dot(way)) * float(self.way.dot(self.way)))
            turn = float(way.dot(self.way)) / lengths if lengths > 0 else 0.0
            lead += LEARNING * (turn - lead)
        lead = min(max(lead, -FURTHEST), FURTHEST)
        ahead = lead * way if self.lead else np.zeros_like(way)  # the first turn alone is not acted on
        for _ in range(CUTS):
            at = x + ahead if domain is None else domain.clip(x + ahead)
            if zone.violation(x - at) is None:
                return Anchor(at, lead, way)
            ahead = SHORTER * ahead
        return Anchor(x, lead, way)
