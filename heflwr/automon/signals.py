"""What transports say to each other beside the protocols' messages: who is there, and what runs.

A protocol never sees one of these; it is told `join`, `lost` and `heard` instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Goodbye", "Heartbeat", "Reason", "Refusal", "Signal", "Welcome"]


@dataclass(frozen=True)
class Heartbeat:
    """Node to coordinator: I am here, this is the version of my constraint, and so many reports I have sent."""

    node: int
    version: int
    sequence: int = 0


@dataclass(frozen=True)
class Goodbye:
    """Node to coordinator: I end; do not wait for me."""

    node: int


@dataclass(frozen=True)
class Welcome:
    """Coordinator to node, for each heartbeat: your index is yours."""

    session: int
    """Drawn when a coordinator begins from nothing: constraints of another session mean nothing any more."""


class Reason(IntEnum):
    """Why a node may not take part."""

    TAKEN = 1
    """Another node has this index and is alive."""
    TOO_LARGE = 2
    """The coordinator takes only smaller indices."""
    OTHER = 3
    """This node has spoken for another index before."""


@dataclass(frozen=True)
class Refusal:
    """Coordinator to node: you do not take part."""

    reason: Reason


Signal = Heartbeat | Goodbye | Welcome | Refusal
