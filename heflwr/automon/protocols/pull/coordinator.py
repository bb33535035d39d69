"""The coordinator of the pull protocol: what to ask each node, and what is certain of f of the mean of all of them.

The law: every live node i last measured x_i = a_i + u_i, with a_i the last vector that it reported and u_i in the zone
that it checked (or u_i = 0, where it reported then). So the mean is c + mean(u_i), c = mean(a_i), in c plus a sum of
zones, each with the share of the nodes that were checked against it; the answer is the middle of the range of f there.
A node whose reply was lost may have measured anything within its span. A reply to an ask before the last one to its
node says nothing of the vector since: whoever carries replies leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.answer import Answer
from heflwr.automon.arguments import check_error_bound
from heflwr.automon.box import Box
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.function import check_function
from heflwr.automon.protocols.pull.books import EXACT, Known
from heflwr.automon.protocols.pull.choice import outline_of
from heflwr.automon.protocols.pull.fit import ROUNDING
from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.automon.protocols.pull.spread import Spread
from heflwr.automon.protocols.pull.zones import ENOUGH, Zones

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.zone import Floats

LEASE = 3
"""Replies in a row that a node may owe before it is lost."""

RATE = 0.05
"""Weight of the newest reply in the rate at which a node reports."""


class PullCoordinator:
    """Knows f of the mean of what every live node measured last, within a bound that it tells.

    | event | what it does |
    | --- | --- |
    | ask | tells the node the present zone where it has not got it, and which of its reports arrived |
    | receive: a vector | the node's anchor; its drift is nothing |
    | receive: inside, of the session and the sequence known here | its drift is in the zone that it checked |
    | receive: inside, otherwise | nobody knows its vector; the next ask makes it report |
    | receive: overtaken by a later reply | nothing |
    | receive: wrong shape, not finite, outside the domain | refused, counted, and nobody knows its vector |
    | failed | it measured nothing: nothing changed; it gets its zone again |
    | unanswered | nobody knows its vector; after `lease` times in a row it is lost |
    | lost | its vector does not count any more; it may come back by a vector |
    | settle | another zone where the answer is wider than its bound, or drifts have told enough of themselves |

    Args:
        function: What is watched.
        error_bound: Half of the widest range that an answer should have, > 0.
        span: Where local vectors are; None: anywhere. In the function's domain they always are.
        is_total: What is wanted is f times the number of live nodes; the bound is of that.
        lease: Replies in a row that a node may owe, >= 1.
        seed: Of the eigenvalue search, where there is one.

    Raises:
        TypeError: `function` is no Function.
        ValueError: An argument is out of range, or no vector is both in the span and in the function's domain.
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
        check_function(function)
        check_error_bound(error_bound)
        if lease < 1:
            raise ValueError(f"lease must be >= 1, got {lease}")
        self._function = function
        self._error_bound = error_bound
        self._dim = int(function.dim)
        anywhere = Box(np.full(self._dim, -inf), np.full(self._dim, inf))
        self._span = anywhere if span is None else span
        if self._span.dim != self._dim:
            raise ValueError(f"span must have {self._dim} coordinates as the function has, got {self._span.dim}")
        self._domain = function.domain
        if self._domain is not None:
            self._span = self._span.intersect(self._domain)
        self._is_total = is_total
        self._lease = lease
        self._outline = outline_of(function, seed=seed)
        self._half = 0.5 * (self._span.upper - self._span.lower)
        with np.errstate(invalid="ignore"):
            self._middle = self._span.lower + self._half  # used where it is finite
        self._zones = Zones(self._outline, 2 * self._half)
        self._nodes: dict[int, Known] = {}
        self._lost: set[int] = set()
        self._news = 0
        self._now = 0
        self._answer: Answer | None = None
        self.refused = 0
        """Replies that no node of ours would send."""

    # Events

    def ask(self, node: int) -> Ask:
        """What to tell a node with the next message to it."""
        known, version = self._nodes.get(node), self._zones.version
        if known is None:
            return Ask(version, self._zones.share(node), 0, 0)
        return Ask(version, None if known.holds == version else self._zones.share(node), known.session, known.sequence)

    def receive(self, node: int, reply: Reply) -> None:
        """Takes what a node replied."""
        known = self._nodes.get(node)
        if known is not None and reply.session == known.session and reply.calls <= known.calls:
            return
        self._answer = None
        vector = reply.vector
        if vector is not None and not self._is_sound(vector):
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
        is_too_wide = not answer.bound <= self._error_bound * (1 + ROUNDING)
        has_zone = bool(self._zones.version)
        if has_zone and not any(node.is_unknown for node in self._nodes.values()):
            self._zones.learn(is_too_wide=is_too_wide)
        if self._news and (is_too_wide or not has_zone or self._news >= max(len(self._nodes), ENOUGH)):
            live = len(self._nodes) if self._is_total else 1
            if self._nodes and self._zones.renew(self._nodes, self._error_bound / live):
                self._news = 0
        self._now = now + 1
        self._zones.keep(self._nodes)
        return answer

    # What is known

    @property
    def answer(self) -> Answer:
        """What is known of what was measured last; its value is NaN before any node was heard."""
        if self._answer is None:
            self._answer = self._certified()
        return self._answer

    @property
    def zones_made(self) -> int:
        """How many zones there have been."""
        return self._zones.made

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
            int(node): Known(anchor.copy(), session=0, calls=0, sequence=0, heard=self._now - 1, is_unknown=True)
            for node, anchor in zip(state["nodes"], anchors, strict=True)
        }
        self._lost = {int(node) for node in state["lost"]}
        self._answer = None

    def _is_sound(self, vector: Floats) -> bool:
        if np.shape(vector) != (self._dim,) or not np.isfinite(vector).all():
            return False
        return self._domain is None or self._domain.contains(np.asarray(vector, dtype=np.float64))

    def _take(self, node: int, reply: Reply, vector: Floats) -> None:
        known = self._nodes.get(node)
        if known is not None and not known.is_unknown and known.session == reply.session:
            self._zones.reported(vector - known.anchor)
        self._lost.discard(node)
        self._news += 1
        holds = reply.version if reply.version in self._zones else 0
        checked = EXACT if reply.is_exact or not reply.version else reply.version
        is_unknown = checked != EXACT and not holds
        fresh = Known(vector, reply.session, reply.calls, reply.sequence, self._now, checked, holds, is_unknown)
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
                counts[node.checked] = counts.get(node.checked, 0.0) + self._zones.weight(number, node.checked)
        parts = tuple((count / live, self._zones[version]) for version, count in counts.items())
        centre = anchors.mean(axis=0)
        if self._domain is not None:
            centre = self._domain.clip(centre)  # its rounding must not put it outside
        return centre, Spread(parts, box / live)
