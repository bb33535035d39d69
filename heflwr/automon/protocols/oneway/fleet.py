"""All nodes of the one-way protocol as one array: the same messages as `Node` objects send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.messages import (
    COORDINATOR,
    Constraint,
    Envelope,
    Message,
    Report,
    Request,
    Violation,
    ViolationKind,
    generation,
)
from heflwr.automon.protocols.anchor import Anchor
from heflwr.automon.zones.zone import Unfinished

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats


class OnewayFleet:
    """Nodes that all hold the same zone and get every message, as in a simulation without loss.

    Args:
        function: f, for zones that evaluate it.
        nodes: How many.
    """

    def __init__(self, function: Function, nodes: int) -> None:
        self._function = function
        self._zone: DriftZone | None = None
        self._generation = 0
        self._anchors = np.zeros((nodes, int(function.dim)))
        self._vectors = self._anchors
        self._memory: list[Anchor | None] = [None] * nodes
        self._versions = np.zeros(nodes, dtype=np.int64)
        self._sequences = np.zeros(nodes, dtype=np.int64)
        self._updates = 0

    def update(self, vectors: Floats) -> list[Envelope]:
        """Gives node i row i of (n, d) and returns the reports, in order of nodes."""
        self._vectors = vectors
        self._updates += 1
        if self._zone is None:
            return [Envelope(COORDINATOR, Violation(i, 0, ViolationKind.SAFE_ZONE, x)) for i, x in enumerate(vectors)]
        kinds = self._zone.violations(vectors - self._anchors)
        return [self._report(i, ViolationKind(int(kinds[i]))) for i in np.flatnonzero(kinds).tolist()]

    def receive(self, node: int, message: Message) -> list[Envelope]:
        """Hands one message to one node."""
        if isinstance(message, Request):
            self._set(node, Anchor(self._vectors[node]))
            return [self._report(node, ViolationKind.SAFE_ZONE)]
        assert isinstance(message, Constraint)
        if generation(message.version) != self._generation:
            self._generation = generation(message.version)
            zone: Any = message.zone  # a one-way coordinator's zones are of drifts
            if isinstance(zone, Unfinished):
                zone = zone.finished(self._function, self._zone)
            self._zone = zone
        self._versions[node] = message.version
        if message.slack is not None:
            self._set(node, Anchor(message.slack))
        assert self._zone is not None
        kind = self._zone.violation(self._vectors[node] - self._anchors[node])
        return [] if kind is None else [self._report(node, kind)]

    def _report(self, node: int, kind: ViolationKind) -> Envelope:
        before = self._memory[node]
        assert before is not None
        assert self._zone is not None
        self._set(node, before.moved(self._vectors[node], self._zone, self._function.domain))
        self._sequences[node] += 1
        version, sequence = int(self._versions[node]), int(self._sequences[node])
        report = Report(node, version, sequence, self._updates, kind, self._anchors[node].copy())
        return Envelope(COORDINATOR, report)

    def _set(self, node: int, anchor: Anchor) -> None:
        self._memory[node] = anchor
        self._anchors[node] = anchor.at
