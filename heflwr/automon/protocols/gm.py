"""The coordinator's side of AutoMon (Sivan, Gabel, Schuster, SIGMOD 2022): slack, lazy sync, full sync.

The law: over the live nodes the slacks sum to zero and every x_i - slack_i is inside one convex zone, so the mean is
inside it too, and there |f(mean) - f(x0)| <= error_bound. A violation is resolved among few nodes (lazy sync) when the
mean of their x_i - slack_i is inside, and by a new zone around the true mean (full sync) when it is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from heflwr.automon.answer import Answer
from heflwr.automon.messages import (
    Constraint,
    Envelope,
    Message,
    Request,
    Slack,
    Vector,
    Violation,
    ViolationKind,
    generation,
    version,
)
from heflwr.automon.protocols.zoning import choose
from heflwr.automon.zones.quadratic import QuadraticZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.derivation import AtLeast, Derivation
    from heflwr.automon.zones.zone import CentredZone, Floats, Indices

Sync = Literal["eager", "lazy-random", "lazy-lru"]

LAZY_SHARE = 0.5
"""Share of the live nodes that a lazy sync may use before it gives up; the paper's."""

PATIENCE = 5
"""Neighbourhood violations a node, without another kind between them, before the radius doubles; the paper's."""


class Phase(Enum):
    """What the coordinator is doing; it waits for nodes in the last two."""

    QUIET = "no violation is open"
    LAZY = "looking for nodes that balance the violations"
    FULL = "collecting all local vectors for a new zone"


class Coordinator:
    """AutoMon's coordinator.

    | event | QUIET | LAZY | FULL |
    | --- | --- | --- | --- |
    | Violation, current | resolve | noted; resolve once the polled node has answered | counts as its vector |
    | Violation, version 0 | the same, and the node is owed a whole constraint | the same | the same |
    | Violation, older | its constraint is sent again | counts as its vector if polled, else sent again | the same |
    | Vector | nothing | counts if polled | counts if polled |
    | of a node that is not live | joins | joins | joins |
    | wrong node, shape, NaN, outside f's domain | refused, counted | refused, counted | refused, counted |
    | join | asked for its vector, then balanced like a violator | the same | polled too |
    | lost | its slack is taken over by some nodes | the same | no longer waited for |

    Args:
        function: What is monitored.
        nodes: How many nodes there are at the start, numbered from 0; the first sync waits for all of them.
        error_bound: > 0.
        sync: Whether and how nodes are chosen to balance a violation.
        slack: Whether nodes get slack; needed by the lazy kinds. Without it the bound holds only at the end of a round,
            in which every node had an update: one that is outside after a full sync says so at its next. And only where
            each node's messages arrive in order: it cannot tell that a zone was built on an older vector of its own.
        radius: Half-side of the neighbourhood for functions with a varying Hessian; None: the domain.
        may_double: Whether the radius doubles after many neighbourhood violations in a row.
        lazy_share: Largest share of the live nodes in a lazy sync.
        guarantee: At least so strong, or ValueError; None: as strong as f allows; see `protocols.zoning.choose`.
        derivation: How zones are derived; None: as `guarantee` says.
        seed: Of "lazy-random" and of the eigenvalue search.
    """

    def __init__(
        self,
        function: Function,
        nodes: int,
        error_bound: float,
        *,
        sync: Sync = "lazy-lru",
        slack: bool = True,
        radius: float | None = None,
        may_double: bool = True,
        lazy_share: float = LAZY_SHARE,
        guarantee: AtLeast | None = None,
        derivation: Derivation | None = None,
        seed: int = 0,
    ) -> None:
        if nodes < 1:
            raise ValueError(f"nodes must be >= 1, got {nodes}")
        if sync not in ("eager", "lazy-random", "lazy-lru"):
            raise ValueError(f"sync must be eager, lazy-random or lazy-lru, got {sync!r}")
        if sync != "eager" and not slack:
            raise ValueError(f"sync={sync!r} needs slack=True; without slack only sync='eager' can resolve a violation")
        if radius is not None and not radius > 0:
            raise ValueError(f"radius must be > 0 or None, got {radius}")
        if derivation is not None and guarantee is not None:
            raise ValueError(f"guarantee={guarantee!r} chooses a derivation, and one was given: leave one of them out")
        self._derivation = derivation or choose(function, error_bound, guarantee=guarantee, seed=seed)
        self._error_bound = error_bound
        self._sync, self._has_slack, self._lazy_share = sync, slack, lazy_share
        self._may_double = may_double and radius is not None and self._derivation.has_neighbourhood
        self.radius = np.inf if radius is None else float(radius)
        self._random = np.random.default_rng(seed)
        self._zone: CentredZone | None = None
        self._light_zone: QuadraticZone | None = None  # the same without the Hessian
        self._version = 0
        self._phase = Phase.FULL
        self._dim = int(function.dim)
        self._domain = function.domain
        self._vectors = np.zeros((nodes, self._dim))
        self._slack = np.zeros((nodes, self._dim))
        self._debt = np.zeros(self._dim)  # what the slacks of the live nodes lack to sum to zero
        self._is_live = np.ones(nodes, dtype=bool)
        self._is_lost = np.zeros(nodes, dtype=bool)
        self._is_fresh = np.zeros(nodes, dtype=bool)  # its vector arrived in this resolution
        self._is_violating = np.zeros(nodes, dtype=bool)
        self._has_zone = np.zeros(nodes, dtype=bool)  # holds the present zone, as far as we know
        self._has_hessian = np.zeros(nodes, dtype=bool)  # holds the constant Hessian
        self._versions = np.zeros(nodes, dtype=np.int64)
        self._lazy_uses = np.zeros(nodes, dtype=np.int64)
        self._pending: set[int] = set(range(nodes))
        self._candidates: list[int] | None = None  # nodes still to poll in this resolution, last first
        self._fresh_count = 0
        self._fresh_sum = np.zeros(self._dim)  # of x - slack over the fresh nodes
        self._has_new_violator = False  # since the violators were last tried among themselves
        self._is_faulty = False
        self._owes_sync = False  # a departure left a debt
        self._neighbourhood_streak = 0
        self.full_syncs = 0
        self.lazy_syncs = 0
        self.refused = 0

    # What is known

    @property
    def is_quiescent(self) -> bool:
        """Whether no sync is under way."""
        return self._phase is Phase.QUIET

    @property
    def zone(self) -> CentredZone | None:
        """The zone around the present reference point; None before the first sync."""
        return self._zone

    @property
    def slack_sum(self) -> Floats:
        """The sum of the live nodes' slacks, shape (d,): zero but for rounding whenever quiescent."""
        total: Floats = self._slack[self._is_live].sum(axis=0)
        return total

    @property
    def answer(self) -> Answer:
        """What is known now; its value is NaN before the first sync."""
        live = int(self._is_live.sum())
        return Answer(
            value=np.nan if self._zone is None else self._zone.value,
            bound=self._error_bound,
            guarantee=self._derivation.guarantee,
            reason=self._derivation.reason,
            as_of=self._version,
            live=live,
            stale=len(self._pending | set(np.flatnonzero(self._is_live & ~self._has_zone).tolist())),
            lost=int(self._is_lost.sum()),
            is_quiescent=self.is_quiescent,
        )

    # Events

    def receive(self, *messages: Message) -> list[Envelope]:
        """Takes what the nodes sent; messages given together are weighed together."""
        out: list[Envelope] = []
        for message in messages:
            if isinstance(message, Violation | Vector) and self._is_sound(message):
                if self._is_live[message.node]:
                    self._take(message, out)
                else:
                    self._admit(message.node)
                    self._note(message, is_violating=True)
            else:
                self.refused += 1
        return out + self._progress()

    def join(self, node: int) -> list[Envelope]:
        """A new or returning node takes part from now on; it is asked for its vector. Does nothing for a live one."""
        if node < 0:
            raise ValueError(f"node must be >= 0, got {node}")
        if node < len(self._is_live) and self._is_live[node]:
            return []
        self._admit(node)
        self._pending.add(node)
        self._is_violating[node] = True
        if self._phase is Phase.QUIET:
            self._phase = Phase.LAZY
        return [self._request(node)]

    def lost(self, node: int) -> list[Envelope]:
        """A node is gone: the others take over its slack. Does nothing for a node that is not live."""
        if not (0 <= node < len(self._is_live) and self._is_live[node]):
            return []
        self._is_live[node], self._is_lost[node] = False, True
        self._unnote(node)
        for flags in (self._is_fresh, self._is_violating, self._has_zone, self._has_hessian):
            flags[node] = False
        self._pending.discard(node)
        self._debt += self._slack[node]
        self._slack[node] = 0.0
        self._owes_sync = self._zone is not None
        return self._progress()

    def resend(self) -> list[Envelope]:
        """The requests that are still unanswered, for a transport that may lose messages; call it on a time-out."""
        return [self._request(node) for node in sorted(self._pending)]

    def restart(self) -> list[Envelope]:
        """Begins anew after a return from an old state: later versions than any before, and a full sync."""
        self._version = version((generation(self._version) | (RESTART_GENERATIONS - 1)) + 1)
        self._has_zone[:] = False
        self._has_hessian[:] = False
        self._forget()
        return self._begin_full()

    def heard(self, node: int, version: int, sequence: int = 0) -> list[Envelope]:
        """A node told its constraint version (a heartbeat): one that missed a sync gets its constraint again."""
        is_known = 0 <= node < len(self._is_live) and self._is_live[node] and self._has_zone[node]
        if not is_known or node in self._pending or self._is_fresh[node] or version == self._versions[node]:
            return []
        self._has_hessian[node] = False
        return [self._whole_constraint(node)]

    @property
    def state(self) -> dict[str, Floats]:
        """All that has to survive a restart, as arrays; see `from_state`."""
        zone = self._zone
        arrays = {name[1:]: getattr(self, name).copy() for name in PER_NODE}
        arrays["debt"] = self._debt.copy()
        arrays["reference"] = np.full(self._dim, np.nan) if zone is None else zone.reference.copy()
        arrays["version"] = np.array(self._version, dtype=np.int64)
        arrays["radius"] = np.array(self.radius)
        arrays["counts"] = np.array([self._neighbourhood_streak, self.full_syncs, self.lazy_syncs, self.refused])
        return arrays

    @classmethod
    def from_state(
        cls, state: Mapping[str, Floats], function: Function, error_bound: float, **options: Any
    ) -> Coordinator:
        """The coordinator as it was, but for a sync under way; call `restart` on it if nodes may have gone on since.

        Args:
            state: What `state` gave.
            function: As before.
            error_bound: As before.
            options: As before, without `radius`.
        """
        radius = float(state["radius"])
        nodes = len(state["is_live"])
        coordinator = cls(function, nodes, error_bound, radius=radius if np.isfinite(radius) else None, **options)
        for name in PER_NODE:
            setattr(coordinator, name, np.array(state[name[1:]]))
        coordinator._debt = np.array(state["debt"])
        coordinator._version = int(state["version"])
        streak, full_syncs, lazy_syncs, refused = (int(count) for count in state["counts"])
        coordinator._neighbourhood_streak, coordinator.full_syncs = streak, full_syncs
        coordinator.lazy_syncs, coordinator.refused = lazy_syncs, refused
        coordinator._pending = set(np.flatnonzero(coordinator._is_live).tolist())
        coordinator._forget()
        if np.isfinite(state["reference"]).all():
            coordinator._zone = coordinator._derivation.zone(np.array(state["reference"]), radius)
            coordinator._pending = set()
            coordinator._phase = Phase.QUIET
            coordinator._owes_sync = bool(coordinator._debt.any())
        return coordinator

    # Taking a message

    def _is_sound(self, message: Violation | Vector) -> bool:
        vector = message.vector
        return (
            0 <= message.node < len(self._is_live)
            and isinstance(vector, np.ndarray)
            and vector.shape == (self._dim,)
            and bool(np.isfinite(vector).all())
            and (self._domain is None or self._domain.contains(vector))
        )

    def _take(self, message: Violation | Vector, out: list[Envelope]) -> None:
        """Uses a sound message of a live node, or finds it out of date."""
        node, is_violating = message.node, isinstance(message, Violation)
        if not is_violating and node not in self._pending:
            return
        if message.version == self._versions[node]:
            self._note(message, is_violating)
            return
        if message.version == 0 or message.version > self._version:
            self._has_hessian[node] = False
        elif node not in self._pending and not self._is_fresh[node] and self._has_zone[node]:
            # Either its constraint is still on its way, or it was lost.
            assert self._zone is not None
            if self._zone.violation(message.vector - self._slack[node]) is None:
                self._has_hessian[node] = False
                out.append(self._whole_constraint(node))
                return
        self._has_zone[node] = False  # so it has to be part of the sync, as a violator is
        self._note(message, is_violating=True)

    def _note(self, message: Violation | Vector, is_violating: bool) -> None:
        node = message.node
        self._unnote(node)
        self._vectors[node] = message.vector
        self._is_fresh[node] = True
        self._fresh_count += 1
        self._fresh_sum += message.vector - self._slack[node]
        self._is_violating[node] |= is_violating
        self._has_new_violator |= bool(self._is_violating[node])
        self._pending.discard(node)
        if isinstance(message, Violation):
            self._is_faulty |= message.kind is ViolationKind.FAULTY
            is_far = message.kind is ViolationKind.NEIGHBOURHOOD
            self._neighbourhood_streak = self._neighbourhood_streak + 1 if is_far else 0

    def _unnote(self, node: int) -> None:
        """Takes a fresh vector back, for a newer one or none."""
        if self._is_fresh[node]:
            self._is_fresh[node] = False
            self._fresh_count -= 1
            self._fresh_sum -= self._vectors[node] - self._slack[node]

    def _admit(self, node: int) -> None:
        """Makes room for a node and counts it in, without a slack."""
        missing = node + 1 - len(self._is_live)
        if missing > 0:
            for name in PER_NODE:
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]))
        self._is_live[node], self._is_lost[node] = True, False
        self._versions[node] = self._lazy_uses[node] = 0
        self._candidates = None

    # Resolving

    def _progress(self) -> list[Envelope]:
        """Goes on as far as the vectors at hand allow."""
        if self._pending or not self._is_live.any():
            return []
        if self._phase is Phase.QUIET and not (self._owes_sync or self._is_violating.any()):
            return []
        return self._finish_full() if self._phase is Phase.FULL else self._resolve()

    def _resolve(self) -> list[Envelope]:
        """Balances the violation among the fresh nodes, polls one more, or begins a full sync."""
        must_be_full = self._zone is None or self._is_faulty or self._is_doubling or self._sync == "eager"
        if must_be_full or self._version + 1 >= version(generation(self._version) + 1):
            return self._begin_full()
        assert self._zone is not None
        most = int(np.round(self._lazy_share * np.count_nonzero(self._is_live)))
        if self._has_new_violator:
            # A violation may have arrived while a node was polled: try the violators alone before all of the fresh.
            self._has_new_violator = False
            members = np.flatnonzero(self._is_violating)
            if 0 < len(members) <= most and self._zone.violation(self._point(members)) is None:
                return self._finish_lazy(members)
        if 0 < self._fresh_count <= most:
            point = (self._fresh_sum - self._debt) / self._fresh_count
            if self._zone.violation(point) is None:
                return self._finish_lazy(np.flatnonzero(self._is_fresh))
        if self._fresh_count >= most:
            self._lazy_uses[:] = 0
            return self._begin_full()
        if self._candidates is None:
            self._candidates = self._order(np.flatnonzero(self._is_live))
        while True:
            node = self._candidates.pop()
            if self._is_live[node] and not self._is_fresh[node]:
                return self._poll(np.array([node]), Phase.LAZY)

    @property
    def _is_doubling(self) -> bool:
        return self._may_double and self._neighbourhood_streak > PATIENCE * int(self._is_live.sum())

    def _order(self, live: Indices) -> list[int]:
        """The live nodes in the order of polling, the first last."""
        if self._sync == "lazy-random":
            order = self._random.permutation(live)
        else:
            order = live[np.argsort(self._lazy_uses[live], kind="stable")]
        return [int(node) for node in order[::-1]]

    def _point(self, members: Indices) -> Floats:
        """Where the members' x - slack would all lie if they shared their slacks and the debt."""
        vectors, slack = self._vectors[members].sum(axis=0), self._slack[members].sum(axis=0)
        point: Floats = vectors / len(members) - (slack + self._debt) / len(members)
        return point

    def _poll(self, nodes: Indices, phase: Phase) -> list[Envelope]:
        self._phase = phase
        asked = [int(node) for node in nodes if not self._is_fresh[node]]
        self._pending = set(asked)
        return [self._request(node) for node in asked]

    def _begin_full(self) -> list[Envelope]:
        asked = self._poll(np.flatnonzero(self._is_live), Phase.FULL)
        return asked if asked or not self._is_live.any() else self._finish_full()

    def _finish_lazy(self, members: Indices) -> list[Envelope]:
        point = self._point(members)
        self._slack[members] = self._vectors[members] - point
        self._debt[:] = 0.0
        self._lazy_uses[members] += 1
        self._version += 1
        self._versions[members] = self._version
        self.lazy_syncs += 1
        out = []
        for node in members.tolist():
            if self._has_zone[node]:
                out.append(Envelope(node, Slack(self._version, self._slack[node].copy())))
            else:
                out.append(self._whole_constraint(node))
        self._settle()
        return out

    def _finish_full(self) -> list[Envelope]:
        live = np.flatnonzero(self._is_live)
        reference = self._vectors[live].sum(axis=0) / len(live)
        if self._is_doubling:
            self.radius *= 2
            self._neighbourhood_streak = 0
        self._zone, self._light_zone = self._derivation.zone(reference, self.radius), None
        if self._has_slack:
            self._slack[live] = self._vectors[live] - reference
        self._debt[:] = 0.0
        self._version = version(generation(self._version) + 1)
        self._versions[live] = self._version
        self.full_syncs += 1
        out = [self._whole_constraint(node) for node in live.tolist()]
        self._settle()
        return out

    def _settle(self) -> None:
        self._phase = Phase.QUIET
        self._owes_sync = False
        self._forget()

    def _forget(self) -> None:
        """Drops what was learnt for the resolution at hand."""
        self._is_fresh[:] = False
        self._fresh_count = 0
        self._fresh_sum[:] = 0.0
        self._is_violating[:] = False
        self._is_faulty = self._has_new_violator = False
        self._candidates = None

    # Messages

    def _request(self, node: int) -> Envelope:
        return Envelope(node, Request(int(self._versions[node])))

    def _whole_constraint(self, node: int) -> Envelope:
        zone = self._zone
        assert zone is not None
        if isinstance(zone, QuadraticZone) and self._has_hessian[node]:
            zone = self._light_zone = self._light_zone or zone.without_factor()
        self._has_zone[node] = self._has_hessian[node] = True
        slack = self._slack[node].copy() if self._has_slack else None
        return Envelope(node, Constraint(int(self._versions[node]), zone, slack))


PER_NODE: Sequence[str] = (
    "_vectors",
    "_slack",
    "_is_live",
    "_is_lost",
    "_is_fresh",
    "_is_violating",
    "_has_zone",
    "_has_hessian",
    "_versions",
    "_lazy_uses",
)
"""The coordinator's arrays with a row a node."""

RESTART_GENERATIONS = 1 << 10
"""A restarted coordinator skips to the next multiple of this many generations, past any it may have used since."""
