"""What a coordinator and a node tell each other where a node only speaks when it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass

from heflwr.automon.protocols.pull.polytope import Polytope
from heflwr.automon.zones.zone import Floats


@dataclass(frozen=True, eq=False)
class Ask:
    """Coordinator to node, on a message that goes there anyway: what to check the next local vector against."""

    version: int
    """Of the zone; 0 where there is none yet, and the vector itself is wanted."""
    zone: Polytope | None
    """None where the node said that it has this version already."""
    session: int
    """The node's, as the coordinator knows it; 0 for a node that it has not heard of."""
    sequence: int
    """The node's last report that arrived."""


@dataclass(frozen=True, eq=False)
class Reply:
    """Node to coordinator, on a reply that goes there anyway: that its drift is inside the zone, or its new vector."""

    session: int
    """Of the node's memory: another one whenever that was lost."""
    calls: int
    """Local vectors that it has had, this one included: what is older than the last that arrived is overtaken."""
    sequence: int
    """Reports that it has sent, this one included."""
    version: int
    """Of the zone that it checked; 0: none."""
    vector: Floats | None
    """Shape (d,), the new anchor; None: it is the one of that sequence. The drift from it is in the zone of that
    version, or where the version is 0, nothing."""
    is_exact: bool = False
    """The vector is the local vector itself: the drift from it is nothing."""
