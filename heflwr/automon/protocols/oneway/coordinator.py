"""The coordinator of the one-way protocol: nodes report when their drift leaves its zone, and hear nothing back.

The law: every drift u_i = x_i - a_i of a live node is in a convex zone Z that contains 0, a_i being its last reported
anchor. So the mean of the x_i is in c + Z, c = mean(a_i), and the answer is the middle of the range of f there, which
is certified after every report to be at most two bounds wide. Only when it is not, all nodes get another zone; and when
another zone would by now have saved more reports than it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    generation,
    version,
)
from heflwr.automon.protocols.gm import RESTART_GENERATIONS
from heflwr.automon.protocols.oneway.thrift import Thrift
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
    | wrong node, shape, NaN, outside f's domain | refused, counted |
    | join | asked for its vector; it counts from when that arrives |
    | lost | the mean is of the others; then certify |
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
        self._dim = int(function.dim)
        self._anchors = np.zeros((nodes, self._dim))
        self._is_live = np.ones(nodes, dtype=bool)
        self._is_lost = np.zeros(nodes, dtype=bool)
        self._is_known = np.zeros(nodes, dtype=bool)  # its anchor counts
        self._has_zone = np.zeros(nodes, dtype=bool)
        self._has_hessian = np.zeros(nodes, dtype=bool)
        self._is_confirmed = np.zeros(nodes, dtype=bool)  # the last constraint with an anchor has arrived there
        self._versions = np.zeros(nodes, dtype=np.int64)
        self._since = np.zeros(nodes, dtype=np.int64)  # reports of older versions are of an anchor given up
        self._sequences = np.zeros(nodes, dtype=np.int64)
        self._pending: set[int] = set(range(nodes))
        self._version = 0
        self._zone: DriftZone | None = None
        self._range = (np.nan, np.nan)
        self._thrift = Thrift()
        self.full_syncs = 0
        self.lazy_syncs = 0
        self.refused = 0

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
            live=int(self._is_live.sum()),
            stale=len(self._pending | set(np.flatnonzero(self._is_live & ~self._has_zone).tolist())),
            lost=int(self._is_lost.sum()),
            is_quiescent=self.is_quiescent,
        )

    # Events

    def receive(self, *messages: Message) -> list[Envelope]:
        """Takes what the nodes sent; messages given together are weighed together."""
        is_news = False
        for message in messages:
            if isinstance(message, Report | Violation | Vector) and self._is_sound(message):
                is_news = self._take(message) or is_news
            else:
                self.refused += 1
        return self._progress() if is_news else []

    def join(self, node: int) -> list[Envelope]:
        """A new or returning node takes part from now on; it is asked for its vector. Does nothing for a live one."""
        if node < 0:
            raise ValueError(f"node must be >= 0, got {node}")
        if node < len(self._is_live) and self._is_live[node]:
            return []
        self._admit(node)
        self._pending.add(node)
        return [self._request(node)]

    def lost(self, node: int) -> list[Envelope]:
        """A node is gone: the answer is of the others. Does nothing for a node that is not live."""
        if not (0 <= node < len(self._is_live) and self._is_live[node]):
            return []
        self._is_live[node], self._is_lost[node] = False, True
        for flags in (self._is_known, self._has_zone, self._has_hessian, self._is_confirmed):
            flags[node] = False
        self._pending.discard(node)
        return self._progress()

    def resend(self) -> list[Envelope]:
        """The requests that are still unanswered, for a transport that may lose messages; call it on a time-out."""
        return [self._request(node) for node in sorted(self._pending)]

    def restart(self) -> list[Envelope]:
        """Begins anew after a return from an old state: later versions than any before, and all are asked."""
        self._version = version((generation(self._version) | (RESTART_GENERATIONS - 1)) + 1)
        self._zone = None
        for flags in (self._is_known, self._has_zone, self._has_hessian, self._is_confirmed):
            flags[:] = False
        self._since[:] = 0
        self._sequences[:] = -1
        self._pending = set(np.flatnonzero(self._is_live).tolist())
        return self.resend()

    def heard(self, node: int, version: int, sequence: int = 0) -> list[Envelope]:
        """A node told what it holds (a heartbeat): one that missed something gets its constraint again."""
        is_known = 0 <= node < len(self._is_live) and self._is_live[node] and self._has_zone[node]
        if not is_known or node in self._pending:
            return []
        if version == self._versions[node] and sequence == self._sequences[node]:
            self._is_confirmed[node] = True
            return []
        self._sequences[node] = sequence
        self._has_zone[node] = False
        return self._restore(np.array([node]))

    @property
    def state(self) -> dict[str, Any]:
        """What has to survive a restart, as arrays; see `from_state`."""
        arrays: dict[str, Any] = {name[1:]: getattr(self, name).copy() for name in PER_NODE}
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
        missing = [name[1:] for name in PER_NODE if name[1:] not in state]
        if missing:
            raise ValueError(f"this is no state of a one-way coordinator: it lacks {', '.join(missing)}")
        coordinator = cls(function, len(state["is_live"]), error_bound, certifier)
        if np.shape(state["anchors"]) != coordinator._anchors.shape:
            raise ValueError(
                f"the state is of vectors of {np.shape(state['anchors'])[-1]} numbers, f has {function.dim}"
            )
        for name in PER_NODE:
            setattr(coordinator, name, np.array(state[name[1:]]))
        coordinator._version = int(state["version"])
        coordinator._range = float(state["range"][0]), float(state["range"][1])
        coordinator.full_syncs, coordinator.lazy_syncs, coordinator.refused = (int(each) for each in state["counts"])
        coordinator._pending = set(np.flatnonzero(coordinator._is_live).tolist())
        return coordinator

    # Taking a message

    def _is_sound(self, message: Report | Violation | Vector) -> bool:
        vector, domain = message.vector, self._function.domain
        return (
            0 <= message.node < len(self._is_live)
            and isinstance(vector, np.ndarray)
            and vector.shape == (self._dim,)
            and bool(np.isfinite(vector).all())
            and (domain is None or domain.contains(vector))
        )

    def _take(self, message: Report | Violation | Vector) -> bool:
        """Moves an anchor; returns whether anything changed."""
        node = message.node
        if not self._is_live[node]:
            self._admit(node)
        if isinstance(message, Report):
            if self._has_zone[node]:
                if message.version < self._since[node] or message.sequence <= self._sequences[node]:
                    return False
                self._is_confirmed[node] = True
                self._thrift.reported(message, message.vector - self._anchors[node])
            self._sequences[node] = message.sequence
        else:
            if isinstance(message, Vector) and self._is_known[node] and node not in self._pending:
                return False
            self._has_zone[node] = self._has_hessian[node] = False
            self._sequences[node] = -1
        self._anchors[node] = message.vector
        self._is_known[node] = True
        self._pending.discard(node)
        return True

    def _admit(self, node: int) -> None:
        """Makes room for a node and counts it in."""
        missing = node + 1 - len(self._is_live)
        if missing > 0:
            for name in PER_NODE:
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]))
        for name in PER_NODE:
            getattr(self, name)[node] = 0
        self._is_live[node] = True

    # Certifying

    def _progress(self) -> list[Envelope]:
        """Certifies the answer around the present centre, with a new zone where the present one will not do."""
        if not self._is_known.any():
            self._range = np.nan, np.nan
            return []
        if self._zone is None and self._pending:
            return []
        centre, nodes = self._centre(), int(self._is_live.sum())
        if self._zone is None:
            return self._renew(centre, nodes)
        if isinstance(self._zone, PointZone):
            if self._thrift.is_rested(nodes):
                better = self._zone_around(centre)
                if better is not None and self._thrift.is_promising(better):
                    return self._renew(centre, nodes)
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
            if better is not None and self._thrift.would_save(self._zone, better, nodes):
                return self._renew(centre, nodes)
        return self._restore(np.flatnonzero(self._is_known & ~self._has_zone))

    def _renew(self, centre: Floats, nodes: int) -> list[Envelope]:
        """Gives all nodes a new zone around the centre, or asks for every change where zones cost more than that."""
        if self._zone is None:
            spread = np.square(self._anchors[self._is_known] - centre).sum(axis=1)
            self._thrift.longest = float(np.sqrt(spread.max()))
        else:
            reports = 0 if isinstance(self._zone, PointZone) else self._thrift.reports
            self._certifier.learn(self._thrift.recent, reports, nodes)
        self._certifier.longest = self._thrift.longest
        found = None
        zone = None if self._thrift.is_too_dear(nodes) else self._zone_around(centre)
        if zone is not None:
            self._certifier.adopt(zone, centre)
            self._zone, found = zone, self._certifier.range(centre)
        if found is None:
            value = float(self._function.value(centre))
            self._zone, found = PointZone(), (value, value)
        self._range = found
        self._version = version(generation(self._version) + 1)
        self.full_syncs += 1
        members = np.flatnonzero(self._is_known)
        self._thrift.renewed(len(members), isinstance(self._zone, PointZone))
        is_sure = self._has_zone[members] & self._is_confirmed[members]
        holders, others = members[is_sure], members[~is_sure]
        return self._constraints(holders, with_anchor=False) + self._constraints(others, with_anchor=True)

    def _centre(self) -> Floats:
        """The mean anchor; its rounding must not put it outside the domain."""
        centre: Floats = self._anchors[self._is_known].mean(axis=0)
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
            return self._renew(self._centre(), int(self._is_live.sum()))
        self._version += 1
        self.lazy_syncs += 1
        return self._constraints(nodes, with_anchor=True)

    def _constraints(self, nodes: Any, *, with_anchor: bool) -> list[Envelope]:
        zone = self._zone
        assert zone is not None
        light = zone.without_factor() if isinstance(zone, SlabZone) else zone
        out = []
        for node in nodes.tolist():
            slack = self._anchors[node].copy() if with_anchor else None
            told = light if self._has_hessian[node] and not with_anchor else zone
            out.append(Envelope(node, Constraint(self._version, told, slack)))
        self._versions[nodes] = self._version
        self._has_zone[nodes] = True
        self._has_hessian[nodes] = isinstance(zone, SlabZone)
        if with_anchor:
            self._since[nodes] = self._version
            self._is_confirmed[nodes] = False
        return out

    def _request(self, node: int) -> Envelope:
        return Envelope(node, Request(int(self._versions[node])))


PER_NODE: Sequence[str] = (
    "_anchors",
    "_is_live",
    "_is_lost",
    "_is_known",
    "_has_zone",
    "_has_hessian",
    "_is_confirmed",
    "_versions",
    "_since",
    "_sequences",
)
"""The coordinator's arrays with a row a node."""
