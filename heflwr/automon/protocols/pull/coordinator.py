"""The coordinator of the pull protocol: what to ask each node, and what is certain of f of the mean of all of them.

The law: every live node i last measured x_i = a_i + u_i, with a_i the last vector that it reported and u_i in the zone
that it checked (or u_i = 0, where it reported then). So the mean is c + mean(u_i), c = mean(a_i), in c plus a sum of
zones, each with the share of the nodes that were checked against it; the answer is the middle of the range of f there.
A node whose reply was lost may have measured anything within its span.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.answer import Answer
from heflwr.automon.box import Box
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.protocols.pull.choice import outline_of
from heflwr.automon.protocols.pull.fit import ROUNDING, Fit
from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.automon.protocols.pull.spread import Spread

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.pull.polytope import Polytope
    from heflwr.automon.zones.zone import Floats

LEASE = 3
"""Replies in a row that a node may owe before it is lost."""

WAYS = 256
"""Reported drifts that are remembered."""

ENOUGH = 4
"""Of these before zones are made in their proportions; before, nodes are expected to drift as far as they are apart."""

RATE = 0.05
"""Weight of the newest reply in the rate at which a node reports."""

LEAST_RATE, WIDEST = 0.1, 8.0
"""What is added to each of these rates, and the largest share of a zone, in equal ones."""

HOPELESS = 0.8
"""A node that reports more often gets less: a larger share would hardly keep it silent, others have use for it."""

EXACT = 0
"""In place of a zone's version: the drift is nothing."""


@dataclass(slots=True)
class _Node:
    """What the coordinator knows of one node."""

    anchor: Floats
    session: int
    calls: int
    sequence: int
    heard: int
    """When, as `settle` counts."""
    checked: int = EXACT
    """Version of the zone that its drift is in."""
    holds: int = 0
    """Version of the zone that it has; 0: none, or nobody knows."""
    is_unknown: bool = False
    """A reply is missing: its vector may be anything."""
    missed: int = 0
    """Replies in a row that it owes."""
    weight: float = 1.0
    """Its share of the next zone, in equal shares."""
    rate: float = 0.3
    """How often it reported of late."""


class PullCoordinator:
    """Knows f of the mean of what every live node measured last, within a bound that it tells.

    | event | what it does |
    | --- | --- |
    | ask | tells the node the present zone where it has not got it, and which of its reports arrived |
    | receive: a vector | the node's anchor; its drift is nothing |
    | receive: inside, of the session and the sequence known here | its drift is in the zone that it checked |
    | receive: inside, otherwise | nobody knows its vector; the next ask makes it report |
    | receive: overtaken by a later reply | nothing |
    | receive: wrong shape, not finite | refused, counted, and nobody knows its vector |
    | failed | it measured nothing: nothing changed; it gets its zone again |
    | unanswered | nobody knows its vector; after `lease` times in a row it is lost |
    | lost | its vector does not count any more; it may come back by a vector |
    | settle | another zone where the answer is wider than its bound, or drifts have told enough of themselves |

    Args:
        function: What is watched.
        error_bound: Half of the widest range that an answer should have, > 0.
        span: Where local vectors are; None: anywhere.
        is_total: What is wanted is f times the number of live nodes; the bound is of that.
        lease: Replies in a row that a node may owe, >= 1.
        seed: Of the eigenvalue search, where there is one.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        function: Function,
        error_bound: float,
        *,
        span: Box | None = None,
        is_total: bool = False,
        lease: int = LEASE,
        seed: int = 0,
    ) -> None:
        if not 0 < error_bound < inf:
            raise ValueError(f"error_bound must be > 0, got {error_bound}")
        if lease < 1:
            raise ValueError(f"lease must be >= 1, got {lease}")
        self._function = function
        self._error_bound = error_bound
        self._dim = int(function.dim)
        anywhere = Box(np.full(self._dim, -inf), np.full(self._dim, inf))
        self._span = anywhere if span is None else span
        if self._span.dim != self._dim:
            raise ValueError(f"span must have {self._dim} coordinates as the function has, got {self._span.dim}")
        self._is_total = is_total
        self._lease = lease
        self._outline = outline_of(function, seed=seed)
        self._half = 0.5 * (self._span.upper - self._span.lower)
        with np.errstate(invalid="ignore"):
            self._middle = self._span.lower + self._half  # used where it is finite
        self._fit = Fit(self._outline, 2 * self._half)
        self._nodes: dict[int, _Node] = {}
        self._lost: set[int] = set()
        self._zones: dict[int, Polytope] = {}
        self._weights: dict[int, dict[int, float]] = {}
        self._version = secrets.randbits(40) << 20  # another coordinator's versions are not ours
        self._zone: Polytope | None = None
        self._ways: deque[Floats] = deque(maxlen=WAYS)
        self._news = 0
        self._now = 0
        self._answer: Answer | None = None
        self.refused = 0
        """Replies that no node of ours would send."""
        self.zones_made = 0

    # Events

    def ask(self, node: int) -> Ask:
        """What to tell a node with the next message to it."""
        known = self._nodes.get(node)
        version = self._version if self._zone is not None else 0
        if known is None:
            return Ask(version, self._zone, 0, 0)
        zone = None if self._zone is None or known.holds == version else self._zone.scaled(self._weight(node, version))
        return Ask(version, zone, known.session, known.sequence)

    def receive(self, node: int, reply: Reply) -> None:
        """Takes what a node replied."""
        known = self._nodes.get(node)
        if known is not None and reply.session == known.session and reply.calls <= known.calls:
            return
        self._answer = None
        vector = reply.vector
        if vector is not None and not (np.shape(vector) == (self._dim,) and np.isfinite(vector).all()):
            self.refused += 1
            if known is not None:
                known.is_unknown = True
            return
        if vector is not None:
            self._take(node, reply, np.array(vector, dtype=np.float64))
        elif known is not None:
            is_agreed = reply.session == known.session and reply.sequence == known.sequence
            is_told = is_agreed and reply.version in self._zones
            known.calls, known.heard, known.missed = reply.calls, self._now, 0
            known.rate -= RATE * known.rate
            known.is_unknown, known.holds = not is_told, reply.version
            if is_told:
                known.checked = reply.version
            elif not is_agreed:
                known.session = 0  # the next ask makes it report
        # A node that nobody knows and that says "inside" is of another coordinator's time: its ask names no session.

    def failed(self, node: int) -> None:
        """The node answered that it measured nothing."""
        known = self._nodes.get(node)
        if known is not None:
            known.holds = known.missed = 0

    def unanswered(self, node: int) -> None:
        """A reply of the node will never come."""
        known = self._nodes.get(node)
        if known is not None:
            known.is_unknown, known.holds, self._answer = True, 0, None
            known.missed += 1
            if known.missed >= self._lease:
                self.lost(node)

    def lost(self, node: int) -> None:
        """The node is gone: the answer is of the others. Does nothing for a node that does not count."""
        if self._nodes.pop(node, None) is not None:
            self._lost.add(node)
            self._answer = None
            self._news += 1

    def settle(self, now: int) -> Answer:
        """All that was asked is answered or given up: makes another zone where one is due, and returns the answer.

        Args:
            now: The round; what the answer is as of. Nodes that were not heard since the last are stale.
        """
        self._now, self._answer = now, None
        answer = self.answer
        if self._zone is not None and not any(node.is_unknown for node in self._nodes.values()):
            self._fit.learn(is_too_wide=not answer.bound <= self._error_bound * (1 + ROUNDING))
        if self._nodes and self._news:
            is_due = self._zone is None or self._news >= max(len(self._nodes), ENOUGH)
            if is_due or not answer.bound <= self._error_bound * (1 + ROUNDING):
                self._renew()
        self._now = now + 1
        in_use = {self._version}.union(*({node.checked, node.holds} for node in self._nodes.values()))
        self._zones = {version: zone for version, zone in self._zones.items() if version in in_use}
        self._weights = {version: dealt for version, dealt in self._weights.items() if version in in_use}
        return answer

    # What is known

    @property
    def answer(self) -> Answer:
        """What is known of what was measured last; its value is NaN before any node was heard."""
        if self._answer is None:
            self._answer = self._certified()
        return self._answer

    @property
    def nodes(self) -> tuple[int, ...]:
        """The live ones, whose vectors count."""
        return tuple(self._nodes)

    @property
    def state(self) -> dict[str, Any]:
        """What has to survive a restart, as arrays; see `restore`."""
        return {
            "nodes": np.array([str(node) for node in self._nodes], dtype="<U20"),
            "anchors": np.array([known.anchor for known in self._nodes.values()]).reshape(-1, self._dim),
            "lost": np.array([str(node) for node in self._lost], dtype="<U20"),
            "now": np.array(self._now, dtype=np.int64),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`: its nodes are live, but nobody knows their vectors before they were heard.

        Raises:
            ValueError: It is of another function.
        """
        anchors = np.asarray(state["anchors"], dtype=np.float64)
        if anchors.shape != (len(state["nodes"]), self._dim) or not np.isfinite(anchors).all():
            raise ValueError(f"the state is of vectors of shape {anchors.shape}, the function has {self._dim} numbers")
        self._now = int(state["now"])
        self._nodes = {
            int(node): _Node(anchor.copy(), session=0, calls=0, sequence=0, heard=self._now - 1, is_unknown=True)
            for node, anchor in zip(state["nodes"], anchors, strict=True)
        }
        self._lost = {int(node) for node in state["lost"]}
        self._answer = None

    def _take(self, node: int, reply: Reply, vector: Floats) -> None:
        known = self._nodes.get(node)
        if known is not None and not known.is_unknown and known.session == reply.session:
            way = vector - known.anchor
            if way.any():
                self._ways.append(way)
        self._lost.discard(node)
        self._news += 1
        holds = reply.version if reply.version in self._zones else 0
        checked = EXACT if reply.is_exact or not reply.version else reply.version
        is_unknown = checked != EXACT and not holds
        fresh = _Node(vector, reply.session, reply.calls, reply.sequence, self._now, checked, holds, is_unknown)
        if known is not None:
            fresh.weight, fresh.rate = known.weight, known.rate + RATE * (1 - known.rate)
        self._nodes[node] = fresh

    def _certified(self) -> Answer:
        live = len(self._nodes)
        unknown = sum(node.is_unknown for node in self._nodes.values())
        value, bound = nan, inf
        if live:
            centre, spread = self._centre()
            low, high = self._range(centre, spread)
            if high - low < inf:
                value, bound = (low + high) / 2, (high - low) / 2
            else:
                value = float(self._function.value(centre))
        times = live if self._is_total else 1
        late = sum(node.heard < self._now or node.is_unknown for node in self._nodes.values())
        return Answer(
            value=value * times,
            bound=bound * times if live else inf,
            guarantee=self._outline.guarantee,
            reason=self._outline.reason,
            as_of=self._now,
            live=live,
            stale=late,
            lost=len(self._lost),
            is_quiescent=bool(live) and not unknown and bound * times <= self._error_bound * (1 + ROUNDING),
        )

    def _range(self, centre: Floats, spread: Spread) -> tuple[float, float]:
        try:
            low, high = self._outline.range(centre, spread)
        except UnsupportedFunction:
            return -inf, inf
        return (low, high) if low <= high else (-inf, inf)

    def _centre(self) -> tuple[Floats, Spread]:
        """The mean anchor, and where the mean drift from it is."""
        live = len(self._nodes)
        anchors, counts, box = np.empty((live, self._dim)), dict[int, float](), np.zeros(self._dim)
        for place, (number, node) in enumerate(self._nodes.items()):
            anchors[place] = node.anchor
            if node.is_unknown:
                anchors[place] = np.where(np.isfinite(self._half), self._middle, node.anchor)
                box += self._half
            elif node.checked != EXACT:
                counts[node.checked] = counts.get(node.checked, 0.0) + self._weight(number, node.checked)
        parts = tuple((count / live, self._zones[version]) for version, count in counts.items())
        return anchors.mean(axis=0), Spread(parts, box / live)

    def _renew(self) -> None:
        """A zone around the centre of those that are known, for whoever is asked next."""
        anchors = np.array([node.anchor for node in self._nodes.values() if not node.is_unknown]).reshape(-1, self._dim)
        if not len(anchors):
            return
        bound = self._error_bound / (len(self._nodes) if self._is_total else 1)
        centre = anchors.mean(axis=0)
        ways = np.array(self._ways) if len(self._ways) >= ENOUGH else anchors - centre
        try:
            zone = self._fit.zone(centre, bound, _scale(ways, anchors), ways)
        except UnsupportedFunction:
            zone = None
        self._zone, self._news = zone, 0
        self._version += 1
        if zone is not None:
            self._zones[self._version] = zone
            self._deal()
            self.zones_made += 1

    def _weight(self, node: int, version: int) -> float:
        """The share of a zone that a node was dealt; one that came later has an equal share."""
        return self._weights.get(version, {}).get(node, 1.0)

    def _deal(self) -> None:
        """Shares of the present zone, n in all: more to nodes that report often, less to those that always do.

        A node whose drift takes sqrt(steps) to leave a zone reports in proportion to (drift / share)^2: the fewest
        reports are at shares in proportion to drift^(2/3), and its drift is in proportion to share * sqrt(rate).
        """
        nodes = self._nodes.values()
        if self._outline.is_exact:
            return
        for node in nodes:
            rate = node.rate + LEAST_RATE if node.rate < HOPELESS else LEAST_RATE
            node.weight = min(max(node.weight ** (2 / 3) * rate ** (1 / 3), 1 / WIDEST), WIDEST)
        total = sum(node.weight for node in nodes) / len(nodes)
        for node in nodes:
            node.weight /= total
        self._weights[self._version] = {number: node.weight for number, node in self._nodes.items()}


def _scale(ways: Floats, anchors: Floats) -> Floats:
    """The size of a typical drift, shape (d,), > 0."""
    least = np.maximum(1e-3 * np.abs(anchors).mean(axis=0), 1e-9)
    typical: Floats = np.maximum(np.sqrt(np.square(ways).mean(axis=0)), least)
    return typical
