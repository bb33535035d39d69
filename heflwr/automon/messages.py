"""What nodes and the coordinator say to each other.

Versions are made of a generation (the full sync whose zone is meant) and a count of lazy syncs since: see `version`.
A node that has no constraint says version 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from heflwr.automon.zones.zone import Floats, ViolationKind, Zone

__all__ = [
    "COORDINATOR",
    "Constraint",
    "Envelope",
    "Message",
    "Report",
    "Request",
    "Slack",
    "Vector",
    "Violation",
    "ViolationKind",
    "after_restart",
    "generation",
    "version",
]

COORDINATOR = -1
"""The address of the coordinator; nodes are 0, 1, 2, ..."""

LAZY_BITS = 20
"""Bits of a version that count lazy syncs: a million between two full syncs; the coordinator syncs fully before."""


def version(generation: int, lazy_syncs: int = 0) -> int:
    """The version of the constraints after `lazy_syncs` lazy syncs on top of full sync number `generation`."""
    return (generation << LAZY_BITS) + lazy_syncs


def generation(version: int) -> int:
    """The number of the full sync that a version goes back to."""
    return version >> LAZY_BITS


RESTART_GENERATIONS = 1 << 10
"""A restarted coordinator skips to the next multiple of this many generations, past any it may have used since."""


def after_restart(number: int) -> int:
    """The first version of a coordinator that goes on from a state with version `number`."""
    return version((generation(number) | (RESTART_GENERATIONS - 1)) + 1)


@dataclass(frozen=True, eq=False)
class Violation:
    """Node to coordinator: my local vector left my zone, here it is."""

    node: int
    version: int
    kind: ViolationKind
    vector: Floats


@dataclass(frozen=True)
class Request:
    """Coordinator to node: send me your local vector."""

    version: int


@dataclass(frozen=True, eq=False)
class Vector:
    """Node to coordinator: the local vector that was requested."""

    node: int
    version: int
    vector: Floats


@dataclass(frozen=True, eq=False)
class Constraint:
    """Coordinator to node: from now on keep x - slack inside this zone (full sync)."""

    version: int
    zone: Zone
    slack: Floats | None
    """None: this fleet has no slack, check x itself; or, for a zone of drifts, keep the anchor, which a slack sets."""


@dataclass(frozen=True, eq=False)
class Slack:
    """Coordinator to node: your zone stays, your slack changes (lazy sync)."""

    version: int
    slack: Floats


@dataclass(frozen=True, eq=False)
class Report:
    """Node to coordinator, in the one-way protocol: from now on this vector stands for mine, my drift starts at it."""

    node: int
    version: int
    sequence: int
    """Counts the node's reports, from 1: the latest counts, whatever the order of arrival."""
    updates: int
    """How many local vectors the node has had: what reporting all of them would have cost."""
    kind: ViolationKind
    vector: Floats


Message = Violation | Request | Vector | Constraint | Slack | Report


@dataclass(frozen=True, eq=False)
class Envelope:
    """A message and where it goes: a node's index or `COORDINATOR`."""

    to: int
    message: Message
