"""What the coordinator of the pull protocol knows of one node."""

from __future__ import annotations

from dataclasses import dataclass

from heflwr.automon.zones.zone import Floats

EXACT = 0
"""In place of a zone's version: the drift is nothing."""


@dataclass(slots=True)
class Known:
    """A live node."""

    anchor: Floats
    session: int
    calls: int
    sequence: int
    heard: int
    """When, as `settle` counts."""
    checked: int = EXACT
    """Version of the zone that its drift is in."""
    holds: int = 0
    """Version of the zone that it has; 0: none, or nobody knows."""
    is_unknown: bool = False
    """A reply is missing: its vector may be anything."""
    missed: int = 0
    """Replies in a row that it owes."""
    weight: float = 1.0
    """Its share of the next zone, in equal shares."""
    rate: float = 0.3
    """How often it reported of late."""
