"""The coordinator of the one-way protocol: nodes report when their drift leaves its zone, and hear nothing back.

The law: every drift u_i = x_i - a_i of a live node is in a convex zone Z that contains 0, a_i being its last reported
anchor. So the mean of the x_i is in c + Z, c = mean(a_i), and the answer is the middle of the range of f there, which
is certified after every report to be at most two bounds wide. Only when it is not, all nodes get another zone; and when
another zone would by now have saved more reports than it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.answer import Answer
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.messages import (
    Constraint,
    Envelope,
    Message,
    Report,
    Request,
    Vector,
    Violation,
    after_restart,
    generation,
    version,
)
from heflwr.automon.protocols.door import Door
from heflwr.automon.protocols.oneway.books import Books
from heflwr.automon.protocols.oneway.thrift import Thrift
from heflwr.automon.protocols.oneway.weights import NEAR
from heflwr.automon.zones.drift import PointZone
from heflwr.automon.zones.slab import SlabZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.oneway.certifier import Certifier
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats

EVERY_CHANGE = "every change of a local vector is reported, because constraints would have cost more messages"


class OnewayCoordinator:
    """The one-way protocol's coordinator.

    | event | what it does |
    | --- | --- |
    | Report, newer than the last | the anchor moves; then certify, else a new zone for all |
    | Report, repeated, overtaken, or of before the node's present anchor | nothing |
    | Violation or Vector (no zone yet, or memory lost) | it is the anchor; then the whole constraint for that node |
    | of a node that is not live | joins |
    | wrong node, shape, NaN, outside f's domain | refused, counted; too often in a row, while awaited: lost |
    | join | asked for its vector; it counts from when that arrives |
    | lost | the mean is of the others, the heaviest may get a smaller part of the zone; then certify |
    | heard, with another version or sequence | the whole constraint again, with the anchor known here |

    Args:
        function: What is monitored.
        nodes: How many nodes there are at the start; the first zone waits for all of them.
        error_bound: > 0.
        certifier: Makes zones and certifies them.
    """

    def __init__(self, function: Function, nodes: int, error_bound: float, certifier: Certifier) -> None:
        if nodes < 1:
            raise ValueError(f"nodes must be >= 1, got {nodes}")
        if not error_bound > 0:
            raise ValueError(f"error_bound must be > 0, got {error_bound}")
        self._function = function
        self._error_bound = error_bound
        self._certifier = certifier
        self._books = Books(nodes, int(function.dim))
        self._door = Door[Report | Violation | Vector](function, Report, Violation, Vector)
        self._pending: set[int] = set(range(nodes))
        self._version = 0
        self._zone: DriftZone | None = None
        self._range = (np.nan, np.nan)
        self._thrift = Thrift()
        self.full_syncs = 0
        self.lazy_syncs = 0

    # What is known

    @property
    def is_quiescent(self) -> bool:
        """Whether no vector is awaited."""
        return not self._pending

    @property
    def zone(self) -> DriftZone | None:
        """The present zone of drifts; None before the first."""
        return self._zone

    @property
    def refused(self) -> int:
        """Messages that no node of ours would send."""
        return self._door.refused

    @property
    def unfit(self) -> dict[int, str]:
        """The nodes that were given up because all they sent was refused, and why."""
        return dict(self._door.unfit)

    @property
    def answer(self) -> Answer:
        """What is known now; its value is NaN before the first zone."""
        lowest, highest = self._range
        certifier = self._certifier
        return Answer(
            value=(lowest + highest) / 2,
            bound=self._error_bound,
            guarantee=certifier.guarantee,
            reason=EVERY_CHANGE if isinstance(self._zone, PointZone) else certifier.reason,
            as_of=self._version,
            live=int(self._books.is_live.sum()),
            stale=len(self._pending | set(np.flatnonzero(self._books.is_live & ~self._books.has_zone).tolist())),
            lost=int(self._books.is_lost.sum()),
            is_quiescent=self.is_quiescent,
        )

    # Events

    def receive(self, *messages: Message) -> list[Envelope]:
        """Takes what the nodes sent; messages given together are weighed together."""
        is_news = False
        for message in messages:
            if self._door.admits(message, len(self._books.is_live)):
                is_news = self._take(message) or is_news
        hopeless = sorted(self._pending & self._door.unfit.keys())
        for node in hopeless:
            self._dismiss(node)
        return self._progress() if is_news or hopeless else []

    def join(self, node: int) -> list[Envelope]:
        """A new or returning node takes part from now on; it is asked for its vector. Does nothing for a live one."""
        if node < 0:
            raise ValueError(f"node must be >= 0, got {node}")
        if self._books.holds(node):
            return []
        self._door.forgive(node)
        self._books.admit(node)
        self._pending.add(node)
        return [self._request(node)]

    def lost(self, node: int) -> list[Envelope]:
        """A node is gone: the answer is of the others. Does nothing for a node that is not live."""
        if not self._books.holds(node):
            return []
        self._dismiss(node)
        return self._progress()

    def _dismiss(self, node: int) -> None:
        self._books.dismiss(node)
        self._pending.discard(node)

    def resend(self) -> list[Envelope]:
        """The requests that are still unanswered, for a transport that may lose messages; call it on a time-out."""
        return [self._request(node) for node in sorted(self._pending)]

    def restart(self) -> list[Envelope]:
        """Begins anew after a return from an old state: later versions than any before, and all are asked."""
        self._version = after_restart(self._version)
        self._zone = None
        self._books.forget()
        self._pending = set(np.flatnonzero(self._books.is_live).tolist())
        return self.resend()

    def heard(self, node: int, version: int, sequence: int = 0) -> list[Envelope]:
        """A node told what it holds (a heartbeat): one that missed something gets its constraint again."""
        if not (self._books.holds(node) and self._books.has_zone[node]) or node in self._pending:
            return []
        if version == self._books.versions[node] and sequence == self._books.sequences[node]:
            self._books.is_confirmed[node] = True
            return []
        self._books.sequences[node] = sequence
        self._books.has_zone[node] = False
        return self._restore(np.array([node]))

    @property
    def state(self) -> dict[str, Any]:
        """What has to survive a restart, as arrays; see `from_state`."""
        arrays = self._books.state
        arrays["version"] = np.array(self._version, dtype=np.int64)
        arrays["range"] = np.array(self._range)
        arrays["counts"] = np.array([self.full_syncs, self.lazy_syncs, self.refused])
        return arrays

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], function: Function, error_bound: float, certifier: Certifier
    ) -> OnewayCoordinator:
        """The coordinator as it was, but for its zone: it waits for every live node's vector; call `restart`.

        Args:
            state: What `state` gave.
            function: As before.
            error_bound: As before.
            certifier: A new one.

        Raises:
            ValueError: The state is of another protocol or another function.
        """
        books = Books.from_state(state, int(function.dim))
        coordinator = cls(function, len(books.is_live), error_bound, certifier)
        coordinator._books = books
        coordinator._version = int(state["version"])
        coordinator._range = float(state["range"][0]), float(state["range"][1])
        coordinator.full_syncs, coordinator.lazy_syncs, coordinator._door.refused = map(int, state["counts"])
        coordinator._pending = set(np.flatnonzero(books.is_live).tolist())
        return coordinator

    # Taking a message

    def _take(self, message: Report | Violation | Vector) -> bool:
        """Moves an anchor; returns whether anything changed."""
        node = message.node
        if not self._books.is_live[node]:
            self._books.admit(node)
        if isinstance(message, Report):
            if self._books.has_zone[node]:
                if not self._books.is_news(message):
                    return False
                self._books.is_confirmed[node] = True
                way = (message.vector - self._books.anchors[node]) / self._books.weights[node]
                self._thrift.reported(message, way)
                if self._zone is not None and self._zone.violation(way / NEAR) is None:
                    self._books.reports[node] += 1
            self._books.sequences[node] = message.sequence
        else:
            if isinstance(message, Vector) and self._books.is_known[node] and node not in self._pending:
                return False
            self._books.has_zone[node] = self._books.has_hessian[node] = False
            self._books.sequences[node] = -1
        self._books.anchors[node] = message.vector
        self._books.is_known[node] = True
        self._pending.discard(node)
        return True

    # Certifying

    def _progress(self) -> list[Envelope]:
        """Certifies the answer around the present centre, with a new zone where the present one will not do."""
        if not self._books.is_known.any():
            self._range = np.nan, np.nan
            return []
        if self._zone is None and self._pending:
            return []
        centre, nodes = self._centre(), int(self._books.is_live.sum())
        if self._zone is None:
            return self._renew(centre, nodes)
        if isinstance(self._zone, PointZone):
            if self._thrift.is_rested(nodes):
                self._certifier.learn(self._thrift.recent, 0, nodes)
                better = self._zone_around(centre)
                if better is not None and self._thrift.is_promising(better):
                    return self._renew(centre, nodes)
                self._thrift.rest()
            value = float(self._function.value(centre))
            found: tuple[float, float] | None = (value, value)
        else:
            found = self._certifier.range(centre)
        if found is None:
            return self._renew(centre, nodes)
        self._range = found
        if self._thrift.is_due(nodes) and not isinstance(self._zone, PointZone):
            self._certifier.longest = self._thrift.longest
            better = self._zone_around(centre)
            if better is not None:
                self._thrift.weigh(self._zone, better)
                if self._thrift.would_save(nodes):
                    return self._renew(centre, nodes)
            if self._books.is_worth_dealing(nodes) and self._thrift.has_credit(nodes):
                return self._deal()
        return self._restore(np.flatnonzero(self._books.is_known & ~self._books.has_zone))

    def _deal(self) -> list[Envelope]:
        """Gives all nodes other weights of the present zone."""
        self._books.deal()
        self._thrift.paid(len(self._books.known))
        return self._tell_all()

    def _renew(self, centre: Floats, nodes: int) -> list[Envelope]:
        """Gives all nodes a new zone around the centre, or asks for every change where zones cost more than that."""
        if self._zone is None:
            spread = np.square(self._books.anchors[self._books.is_known] - centre).sum(axis=1)
            self._thrift.longest = float(np.sqrt(spread.max()))
        elif not isinstance(self._zone, PointZone):
            self._certifier.learn(self._thrift.recent, self._thrift.reports, nodes)
        self._certifier.longest = self._thrift.longest
        self._thrift.close(nodes)
        found = None
        zone = None if self._thrift.is_too_dear(nodes) else self._zone_around(centre)
        if zone is not None:
            self._certifier.adopt(zone, centre)
            self._zone, found = zone, self._certifier.range(centre)
        if found is None:
            value = float(self._function.value(centre))
            self._zone, found = PointZone(), (value, value)
        self._range = found
        is_point = isinstance(self._zone, PointZone)
        if is_point:
            self._books.level()
        else:
            self._books.deal()
        self._thrift.renewed(len(self._books.known), is_point)
        return self._tell_all()

    def _tell_all(self) -> list[Envelope]:
        """Gives every known node its part of the zone, with the anchor where it may hold another one."""
        self._version = version(generation(self._version) + 1)
        self.full_syncs += 1
        known = self._books.known
        is_sure = self._books.has_zone[known] & self._books.is_confirmed[known]
        holders, others = known[is_sure], known[~is_sure]
        return self._constraints(holders, with_anchor=False) + self._constraints(others, with_anchor=True)

    def _centre(self) -> Floats:
        """The mean anchor; its rounding must not put it outside the domain."""
        centre = self._books.centre()
        return centre if self._function.domain is None else self._function.domain.clip(centre)

    def _zone_around(self, centre: Floats) -> DriftZone | None:
        """A zone around the centre; None where f has no derivatives to make one of."""
        try:
            return self._certifier.zone(centre)
        except UnsupportedFunction:
            return None

    def _restore(self, nodes: Any) -> list[Envelope]:
        """Gives nodes the present zone with the anchor known here, under a version of its own."""
        if not len(nodes):
            return []
        if self._version + 1 >= version(generation(self._version) + 1):
            return self._renew(self._centre(), int(self._books.is_live.sum()))
        self._version += 1
        self.lazy_syncs += 1
        return self._constraints(nodes, with_anchor=True)

    def _constraints(self, nodes: Any, *, with_anchor: bool) -> list[Envelope]:
        zone = self._zone
        assert zone is not None
        light = zone.without_factor() if isinstance(zone, SlabZone) else zone
        scaled: dict[tuple[float, bool], DriftZone] = {}
        out = []
        for node in nodes.tolist():
            slack = self._books.anchors[node].copy() if with_anchor else None
            is_light, weight = bool(self._books.has_hessian[node]) and not with_anchor, float(self._books.weights[node])
            if (weight, is_light) not in scaled:
                scaled[weight, is_light] = (light if is_light else zone).scaled(weight)
            out.append(Envelope(node, Constraint(self._version, scaled[weight, is_light], slack)))
        self._books.versions[nodes] = self._version
        self._books.has_zone[nodes] = True
        self._books.has_hessian[nodes] = isinstance(zone, SlabZone)
        if with_anchor:
            self._books.since[nodes] = self._version
            self._books.is_confirmed[nodes] = False
        return out

    def _request(self, node: int) -> Envelope:
        return Envelope(node, Request(int(self._books.versions[node])))
