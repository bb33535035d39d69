"""All of AutoMon's nodes as one array: the same messages as `Node` objects send, in one NumPy call a round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.messages import (
    COORDINATOR,
    Constraint,
    Envelope,
    Message,
    Request,
    Slack,
    Vector,
    Violation,
    ViolationKind,
    generation,
)
from heflwr.automon.zones.zone import Unfinished

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.zone import CentredZone, Floats


class GmFleet:
    """Nodes that all hold the same zone and get every message, as in a simulation without loss.

    Args:
        function: f, evaluated for all nodes at once.
        nodes: How many.
    """

    def __init__(self, function: Function, nodes: int) -> None:
        self._function = function
        self._zone: CentredZone | None = None
        self._generation = 0
        self._versions = np.zeros(nodes, dtype=np.int64)
        self._slack = np.zeros((nodes, int(function.dim)))
        self._vectors = np.zeros_like(self._slack)

    def update(self, vectors: Floats) -> list[Envelope]:
        """Gives node i row i of (n, d) and returns the violations, in order of nodes."""
        self._vectors = vectors
        zone = self._zone
        if zone is None:
            kinds = np.full(len(vectors), ViolationKind.SAFE_ZONE)
        else:
            points = vectors - self._slack
            kinds = zone.violations(points, self._function.values(points) if zone.reads_values else None)
        return [
            Envelope(COORDINATOR, Violation(i, int(self._versions[i]), ViolationKind(int(kinds[i])), vectors[i]))
            for i in np.flatnonzero(kinds).tolist()
        ]

    def receive(self, node: int, message: Message) -> list[Envelope]:
        """Hands one message to one node."""
        if isinstance(message, Request):
            return [Envelope(COORDINATOR, Vector(node, int(self._versions[node]), self._vectors[node]))]
        if isinstance(message, Constraint):
            if generation(message.version) != self._generation:
                self._generation = generation(message.version)
                zone: Any = message.zone  # a coordinator's zones are centred
                if isinstance(zone, Unfinished):
                    zone = zone.finished(self._function, self._zone)
                self._zone = zone
            self._versions[node] = message.version
            if message.slack is not None:
                self._slack[node] = message.slack
        elif isinstance(message, Slack):
            self._versions[node], self._slack[node] = message.version, message.slack
        return []
