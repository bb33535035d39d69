"""A node of any protocol: silent while its vector is in its zone, as seen from its slack or anchor. NumPy only, no jax.

Which protocol it follows it learns from the zone that it gets: of vectors (AutoMon's) or of drifts (the one-way one).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.messages import (
    COORDINATOR,
    Constraint,
    Envelope,
    Message,
    Report,
    Request,
    Slack,
    Vector,
    Violation,
    ViolationKind,
    generation,
)
from heflwr.automon.protocols.anchor import Anchor
from heflwr.automon.zones.drift import DriftZone
from heflwr.automon.zones.zone import Floats, PointFunction, Unfinished, Zone

if TYPE_CHECKING:
    from heflwr.automon.box import Box


@dataclass(frozen=True, eq=False)
class NodeState:
    """All that a node remembers, a value: arrays, numbers and its constraint."""

    index: int
    version: int = 0
    zone: Zone | None = None
    slack: Floats | None = None
    vector: Floats | None = None
    """The latest local vector."""
    is_reported: bool = True
    """Whether the coordinator was sent `vector`."""
    updates: int = 0
    """How many local vectors there have been."""
    anchor: Floats | None = None
    """Where drifts start, shape (d,); None outside the one-way protocol."""
    sequence: int = 0
    """Reports so far."""
    lead: float = 0.0
    way: Floats | None = None
    """See `Anchor`."""


class Node:
    """One node; its `state` can be taken at any time and a node made `from_state` again.

    | event | constraint | what it does |
    | --- | --- | --- |
    | update | none, or x - slack outside | Violation |
    | update | x - slack inside | nothing |
    | update | of drifts, x - anchor outside | Report of a new anchor |
    | update | of drifts, x - anchor inside | nothing |
    | Request | of drifts | Report, of x itself |
    | Request | any | Vector, if there is one |
    | Constraint, newer | any | takes it; Violation if the vector is outside |
    | Slack, newer, of the zone held | held | the same |
    | Constraint of drifts, with slack | any | the slack is the anchor from now on |
    | Constraint of drifts, without, and no anchor | any | Violation with version 0: send me the whole constraint |
    | Slack of another zone | any | Violation with version 0: send me the whole constraint |
    | Constraint or Slack, not newer | any | nothing |

    Args:
        index: >= 0; no two nodes have the same.
        function: f for NumPy and its domain; zones that need no f leave it alone.
    """

    def __init__(self, index: int, function: PointFunction) -> None:
        if index < 0:
            raise ValueError(f"index must be >= 0, got {index}")
        self._function = function
        self._index = index
        self._version = 0
        self._zone: Zone | None = None
        self._slack: Floats | None = None
        self._vector: Floats | None = None
        self._is_reported = True
        self._updates = self._sequence = 0
        self._anchor: Anchor | None = None

    @classmethod
    def from_state(cls, state: NodeState, function: PointFunction) -> Node:
        """The node as it was.

        Args:
            state: What `state` gave.
            function: As before.
        """
        node = cls(state.index, function)
        node._version, node._zone, node._slack = state.version, state.zone, state.slack
        node._vector, node._is_reported = state.vector, state.is_reported
        node._updates, node._sequence = state.updates, state.sequence
        node._anchor = None if state.anchor is None else Anchor(state.anchor, state.lead, state.way)
        return node

    @property
    def state(self) -> NodeState:
        """All that the node remembers."""
        anchor = self._anchor
        return NodeState(
            index=self._index,
            version=self._version,
            zone=self._zone,
            slack=self._slack,
            vector=self._vector,
            is_reported=self._is_reported,
            updates=self._updates,
            anchor=None if anchor is None else anchor.at,
            sequence=self._sequence,
            lead=0.0 if anchor is None else anchor.lead,
            way=None if anchor is None else anchor.way,
        )

    def update(self, x: Floats) -> list[Envelope]:
        """Takes the new local vector, shape (d,), finite and in the function's domain.

        Raises:
            ValueError: It is of another shape than before, not finite or outside the domain; the node stays as it was.
        """
        x = np.array(x, dtype=np.float64)
        domain = self._function.domain
        known = self._vector if self._slack is None else self._slack
        if known is None and domain is not None:
            known = domain.lower
        if x.ndim != 1 or (known is not None and x.shape != known.shape):
            expected = "(d,)" if known is None else str(known.shape)
            raise ValueError(f"a local vector must have shape {expected}, got {x.shape}")
        if np.count_nonzero(np.isfinite(x)) != x.size:  # in half the time that all() takes
            raise ValueError(f"a local vector must be finite, got {x}")
        if domain is not None and not domain.contains(x):
            raise ValueError(f"a local vector must be in the function's domain, got {_outside(x, domain)}")
        self._vector, self._is_reported = x, False
        self._updates += 1
        return self._check()

    def again(self) -> list[Envelope]:
        """What there is to say of the last local vector, as if it had come now; for transports that lose messages."""
        return [] if self._vector is None else self._check()

    def receive(self, message: Message) -> list[Envelope]:
        """Takes a message from the coordinator; one that is late or not for nodes changes nothing."""
        if isinstance(message, Request):
            if self._vector is None:
                return []
            if self._anchor is not None:
                return self._report(ViolationKind.SAFE_ZONE, replace(self._anchor, at=self._vector))
            self._is_reported = True
            return [Envelope(COORDINATOR, Vector(self._index, self._version, self._vector))]
        if isinstance(message, Constraint) and message.version > self._version:
            zone = message.zone
            finished = zone.finished(self._function, self._zone) if isinstance(zone, Unfinished) else zone
            if finished is None:
                return self._refuse()
            if isinstance(finished, DriftZone):
                return self._take(message, finished)
            self._zone, self._anchor = finished, None
        elif isinstance(message, Slack) and message.version > self._version:
            if generation(message.version) != generation(self._version):
                return self._refuse()
        else:
            return []
        self._version, self._slack = message.version, message.slack
        # The coordinator may have built on an older vector than it was last sent; without slack only news counts.
        is_settled = self._vector is None or (self._is_reported and message.slack is None)
        return [] if is_settled else self._check()

    def _take(self, message: Constraint, zone: DriftZone) -> list[Envelope]:
        """Takes a zone of drifts; with a slack, which is the anchor that the coordinator knows."""
        if message.slack is not None:
            self._anchor = Anchor(message.slack)
        if self._anchor is None:
            return self._refuse()
        self._zone, self._slack, self._version = zone, None, message.version
        return [] if self._vector is None else self._check()

    def _check(self) -> list[Envelope]:
        assert self._vector is not None
        if self._zone is None:
            return self._violation(ViolationKind.SAFE_ZONE)
        if self._anchor is not None:
            kind = self._zone.violation(self._vector - self._anchor.at)
            return (
                []
                if kind is None
                else self._report(kind, self._anchor.moved(self._vector, self._zone, self._function.domain))
            )
        kind = self._zone.violation(self._vector if self._slack is None else self._vector - self._slack)
        return [] if kind is None else self._violation(kind)

    def _report(self, kind: ViolationKind, anchor: Anchor) -> list[Envelope]:
        self._anchor, self._is_reported = anchor, True
        self._sequence += 1
        report = Report(self._index, self._version, self._sequence, self._updates, kind, anchor.at)
        return [Envelope(COORDINATOR, report)]

    def _violation(self, kind: ViolationKind) -> list[Envelope]:
        assert self._vector is not None
        self._is_reported = True
        return [Envelope(COORDINATOR, Violation(self._index, self._version, kind, self._vector))]

    def _refuse(self) -> list[Envelope]:
        """Forgets the constraint, which is not in force any more, and asks for a whole one."""
        self._version, self._zone, self._slack, self._anchor = 0, None, None, None
        return [] if self._vector is None else self._violation(ViolationKind.SAFE_ZONE)


def _outside(x: Floats, domain: Box) -> str:
    """What to say of a vector outside the domain: its first coordinate that is, with the bounds."""
    at = int(np.argmax((x < domain.lower) | (x > domain.upper)))
    return f"{x[at]} at coordinate {at}, which has to be within [{domain.lower[at]}, {domain.upper[at]}]"
