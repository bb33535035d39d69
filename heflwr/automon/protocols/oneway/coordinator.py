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
from heflwr.automon.arguments import check_error_bound, check_nodes
from heflwr.automon.messages import Envelope, Message, Report, Request, Vector, Violation
from heflwr.automon.protocols.door import Door
from heflwr.automon.protocols.oneway.books import Books
from heflwr.automon.protocols.oneway.upkeep import Upkeep
from heflwr.automon.zones.drift import PointZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.oneway.certifier import Certifier
    from heflwr.automon.zones.drift import DriftZone

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
        check_nodes(nodes)
        check_error_bound(error_bound)
        self._function = function
        self._error_bound = error_bound
        self._books = Books(nodes, int(function.dim))
        self._upkeep = Upkeep(function, certifier, self._books)
        self._door = Door[Report | Violation | Vector](function, Report, Violation, Vector)
        self._pending: set[int] = set(range(nodes))

    # What is known

    @property
    def is_quiescent(self) -> bool:
        """Whether no vector is awaited."""
        return not self._pending

    @property
    def zone(self) -> DriftZone | None:
        """The present zone of drifts; None before the first."""
        return self._upkeep.zone

    @property
    def full_syncs(self) -> int:
        """How often all nodes got a new zone."""
        return self._upkeep.full_syncs

    @property
    def lazy_syncs(self) -> int:
        """How often only some nodes were written to."""
        return self._upkeep.lazy_syncs

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
        lowest, highest = self._upkeep.range
        certifier = self._upkeep.certifier
        return Answer(
            value=(lowest + highest) / 2,
            bound=self._error_bound,
            guarantee=certifier.guarantee,
            reason=EVERY_CHANGE if isinstance(self._upkeep.zone, PointZone) else certifier.reason,
            as_of=self._upkeep.version,
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
        return self._upkeep.progress(is_waiting=bool(self._pending)) if is_news or hopeless else []

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
        return self._upkeep.progress(is_waiting=bool(self._pending))

    def _dismiss(self, node: int) -> None:
        self._books.dismiss(node)
        self._pending.discard(node)

    def resend(self) -> list[Envelope]:
        """The requests that are still unanswered, for a transport that may lose messages; call it on a time-out."""
        return [self._request(node) for node in sorted(self._pending)]

    def restart(self) -> list[Envelope]:
        """Begins anew after a return from an old state: later versions than any before, and all are asked."""
        self._upkeep.restart()
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
        return self._upkeep.restore(np.array([node]))

    @property
    def state(self) -> dict[str, Any]:
        """What has to survive a restart, as arrays; see `from_state`."""
        arrays = self._books.state
        arrays["version"] = np.array(self._upkeep.version, dtype=np.int64)
        arrays["range"] = np.array(self._upkeep.range)
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
        upkeep = Upkeep(function, certifier, books)
        upkeep.version = int(state["version"])
        upkeep.range = float(state["range"][0]), float(state["range"][1])
        upkeep.full_syncs, upkeep.lazy_syncs, coordinator._door.refused = map(int, state["counts"])
        coordinator._books, coordinator._upkeep = books, upkeep
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
                self._upkeep.reported(message)
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

    def _request(self, node: int) -> Envelope:
        return Envelope(node, Request(int(self._books.versions[node])))
