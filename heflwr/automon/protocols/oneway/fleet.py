"""All nodes of the one-way protocol as one array: the same messages as `Node` objects send."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.messages import (
    COORDINATOR,
    Constraint,
    Envelope,
    Message,
    Report,
    Request,
    Vector,
    Violation,
    ViolationKind,
)
from heflwr.automon.protocols.anchor import Anchor
from heflwr.automon.zones.zone import Unfinished

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats, Indices


class OnewayFleet:
    """Nodes that get every message, as in a simulation without loss; those that hold the same zone are checked at once.

    Args:
        function: f, for zones that evaluate it.
        nodes: How many.
    """

    def __init__(self, function: Function, nodes: int) -> None:
        self._function = function
        self._zones: list[DriftZone | None] = [None] * nodes
        self._groups: list[tuple[DriftZone, Indices]] = []
        self._finished: dict[int, tuple[Any, DriftZone]] = {}  # a zone as it was sent, and as it is checked, by id
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
        kinds = np.full(len(vectors), ViolationKind.SAFE_ZONE, dtype=np.int8)
        drifts = vectors - self._anchors
        for zone, members in self._grouped():
            kinds[members] = zone.violations(drifts[members] if len(members) < len(drifts) else drifts)
        return [self._told(i, int(kinds[i])) for i in np.flatnonzero(kinds).tolist()]

    def receive(self, node: int, message: Message) -> list[Envelope]:
        """Hands one message to one node."""
        if isinstance(message, Request):
            if not self._updates:
                return []
            memory = self._memory[node]
            if memory is None:
                return [Envelope(COORDINATOR, Vector(node, 0, self._vectors[node]))]
            return [self._report(node, ViolationKind.SAFE_ZONE, replace(memory, at=self._vectors[node]))]
        assert isinstance(message, Constraint)
        zone = self._zones[node] = self._ready(message.zone, node)
        self._groups = []
        self._versions[node] = message.version
        if message.slack is not None:
            self._set(node, Anchor(message.slack))
        kind = zone.violation(self._vectors[node] - self._anchors[node]) if self._updates else None
        return [] if kind is None else [self._told(node, kind)]

    def _ready(self, sent: Any, node: int) -> DriftZone:  # a one-way coordinator's zones are of drifts
        """The zone as it is checked, one object for all who were sent the same."""
        if id(sent) not in self._finished:
            zone: Any = sent.finished(self._function, self._zones[node]) if isinstance(sent, Unfinished) else sent
            self._finished[id(sent)] = sent, zone
        return self._finished[id(sent)][1]

    def _grouped(self) -> list[tuple[DriftZone, Indices]]:
        """The zones that are held, each with the nodes that hold it."""
        self._finished.clear()
        if not self._groups:
            held: dict[int, tuple[DriftZone, list[int]]] = {}
            for node, zone in enumerate(self._zones):
                if zone is not None:
                    held.setdefault(id(zone), (zone, []))[1].append(node)
            self._groups = [(zone, np.array(members)) for zone, members in held.values()]
        return self._groups

    def _told(self, node: int, kind: int) -> Envelope:
        """What a node says that is outside its zone, or has none."""
        before, zone = self._memory[node], self._zones[node]
        if before is None or zone is None:
            return Envelope(COORDINATOR, Violation(node, 0, ViolationKind.SAFE_ZONE, self._vectors[node]))
        return self._report(node, kind, before.moved(self._vectors[node], zone, self._function.domain))

    def _report(self, node: int, kind: int, anchor: Anchor) -> Envelope:
        self._set(node, anchor)
        self._sequences[node] += 1
        version, sequence = int(self._versions[node]), int(self._sequences[node])
        report = Report(node, version, sequence, self._updates, ViolationKind(kind), anchor.at.copy())
        return Envelope(COORDINATOR, report)

    def _set(self, node: int, anchor: Anchor) -> None:
        self._memory[node] = anchor
        self._anchors[node] = anchor.at
