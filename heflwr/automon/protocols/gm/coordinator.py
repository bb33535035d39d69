"""The coordinator's side of AutoMon (Sivan, Gabel, Schuster, SIGMOD 2022): slack, lazy sync, full sync.

The law: over the live nodes the slacks sum to zero and every x_i - slack_i is inside one convex zone, so the mean is
inside it too, and there |f(mean) - f(x0)| <= error_bound. A violation is resolved among few nodes (lazy sync) when the
mean of their x_i - slack_i is inside, and by a new zone around the true mean (full sync) when it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.answer import Answer
from heflwr.automon.arguments import check_nodes
from heflwr.automon.messages import (
    Constraint,
    Envelope,
    Message,
    Request,
    Slack,
    Vector,
    Violation,
    ViolationKind,
    after_restart,
    generation,
    version,
)
from heflwr.automon.protocols.door import Door
from heflwr.automon.protocols.gm.books import Books
from heflwr.automon.protocols.gm.lazy import LAZY_SHARE, Search
from heflwr.automon.protocols.zoning import choose
from heflwr.automon.zones.quadratic import QuadraticZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.derivation import AtLeast, Derivation
    from heflwr.automon.protocols.gm.lazy import Sync
    from heflwr.automon.zones.zone import CentredZone, Floats, Indices

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
    | wrong node, shape, NaN, outside f's domain | refused, counted | the same | the same |
    | refused too often in a row, while awaited | - | lost | lost |
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
        check_nodes(nodes)
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
        self._is_eager, self._has_slack = sync == "eager", slack
        self._search = Search(sync, lazy_share, seed)
        self._may_double = may_double and radius is not None and self._derivation.has_neighbourhood
        self.radius = np.inf if radius is None else float(radius)
        self._zone: CentredZone | None = None
        self._light_zone: QuadraticZone | None = None  # the same without the Hessian
        self._version = 0
        self._phase = Phase.FULL
        self._door = Door[Violation | Vector](function, Violation, Vector)
        self._books = Books(nodes, int(function.dim))
        self._pending: set[int] = set(range(nodes))
        self._is_faulty = False
        self._owes_sync = False  # a departure left a debt
        self._neighbourhood_streak = 0
        self.full_syncs = 0
        self.lazy_syncs = 0

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
        return self._books.slack_sum

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
        """What is known now; its value is NaN before the first sync."""
        live = int(self._books.is_live.sum())
        return Answer(
            value=np.nan if self._zone is None else self._zone.value,
            bound=self._error_bound,
            guarantee=self._derivation.guarantee,
            reason=self._derivation.reason,
            as_of=self._version,
            live=live,
            stale=len(self._pending | set(np.flatnonzero(self._books.is_live & ~self._books.has_zone).tolist())),
            lost=int(self._books.is_lost.sum()),
            is_quiescent=self.is_quiescent,
        )

    # Events

    def receive(self, *messages: Message) -> list[Envelope]:
        """Takes what the nodes sent; messages given together are weighed together."""
        out: list[Envelope] = []
        for message in messages:
            if self._door.admits(message, len(self._books.is_live)):
                if self._books.is_live[message.node]:
                    self._take(message, out)
                else:
                    self._admit(message.node)
                    self._note(message, is_violating=True)
        for node in sorted(self._pending & self._door.unfit.keys()):
            out += self.lost(node)
        return out + self._progress()

    def join(self, node: int) -> list[Envelope]:
        """A new or returning node takes part from now on; it is asked for its vector. Does nothing for a live one."""
        if node < 0:
            raise ValueError(f"node must be >= 0, got {node}")
        if self._books.holds(node):
            return []
        self._door.forgive(node)
        self._admit(node)
        self._pending.add(node)
        self._books.is_violating[node] = True
        if self._phase is Phase.QUIET:
            self._phase = Phase.LAZY
        return [self._request(node)]

    def lost(self, node: int) -> list[Envelope]:
        """A node is gone: the others take over its slack. Does nothing for a node that is not live."""
        if not self._books.holds(node):
            return []
        self._books.dismiss(node)
        self._pending.discard(node)
        self._owes_sync = self._zone is not None
        return self._progress()

    def resend(self) -> list[Envelope]:
        """The requests that are still unanswered, for a transport that may lose messages; call it on a time-out."""
        return [self._request(node) for node in sorted(self._pending)]

    def restart(self) -> list[Envelope]:
        """Begins anew after a return from an old state: later versions than any before, and a full sync."""
        self._version = after_restart(self._version)
        self._books.has_zone[:] = False
        self._books.has_hessian[:] = False
        self._forget()
        return self._begin_full()

    def heard(self, node: int, version: int, sequence: int = 0) -> list[Envelope]:
        """A node told its constraint version (a heartbeat): one that missed a sync gets its constraint again."""
        is_known = self._books.holds(node) and self._books.has_zone[node]
        if not is_known or node in self._pending or self._books.is_fresh[node] or version == self._books.versions[node]:
            return []
        self._books.has_hessian[node] = False
        return [self._whole_constraint(node)]

    @property
    def state(self) -> dict[str, Floats]:
        """All that has to survive a restart, as arrays; see `from_state`."""
        zone = self._zone
        arrays = self._books.state
        arrays["reference"] = np.full(len(self._books.debt), np.nan) if zone is None else zone.reference.copy()
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

        Raises:
            ValueError: The state is of another protocol or another function.
        """
        books = Books.from_state(state, int(function.dim))
        radius, nodes = float(state["radius"]), len(books.is_live)
        coordinator = cls(function, nodes, error_bound, radius=radius if np.isfinite(radius) else None, **options)
        coordinator._books = books
        coordinator._version = int(state["version"])
        streak, full_syncs, lazy_syncs, refused = (int(count) for count in state["counts"])
        coordinator._neighbourhood_streak, coordinator.full_syncs = streak, full_syncs
        coordinator.lazy_syncs, coordinator._door.refused = lazy_syncs, refused
        coordinator._pending = set(np.flatnonzero(books.is_live).tolist())
        coordinator._forget()
        if np.isfinite(state["reference"]).all():
            coordinator._zone = coordinator._derivation.zone(np.array(state["reference"]), radius)
            coordinator._pending = set()
            coordinator._phase = Phase.QUIET
            coordinator._owes_sync = bool(books.debt.any())
        return coordinator

    # Taking a message

    def _take(self, message: Violation | Vector, out: list[Envelope]) -> None:
        """Uses a sound message of a live node, or finds it out of date."""
        node, is_violating = message.node, isinstance(message, Violation)
        if not is_violating and node not in self._pending:
            return
        if message.version == self._books.versions[node]:
            self._note(message, is_violating)
            return
        if message.version == 0 or message.version > self._version:
            self._books.has_hessian[node] = False
        elif node not in self._pending and not self._books.is_fresh[node] and self._books.has_zone[node]:
            # Either its constraint is still on its way, or it was lost.
            assert self._zone is not None
            if self._zone.violation(message.vector - self._books.slack[node]) is None:
                self._books.has_hessian[node] = False
                out.append(self._whole_constraint(node))
                return
        self._books.has_zone[node] = False  # so it has to be part of the sync, as a violator is
        self._note(message, is_violating=True)

    def _note(self, message: Violation | Vector, is_violating: bool) -> None:
        self._books.note(message.node, message.vector, is_violating)
        self._pending.discard(message.node)
        if isinstance(message, Violation):
            self._is_faulty |= message.kind is ViolationKind.FAULTY
            is_far = message.kind is ViolationKind.NEIGHBOURHOOD
            self._neighbourhood_streak = self._neighbourhood_streak + 1 if is_far else 0

    def _admit(self, node: int) -> None:
        self._books.admit(node)
        self._search.forget()

    # Resolving

    def _progress(self) -> list[Envelope]:
        """Goes on as far as the vectors at hand allow."""
        if self._pending or not self._books.is_live.any():
            return []
        if self._phase is Phase.QUIET and not (self._owes_sync or self._books.is_violating.any()):
            return []
        return self._finish_full() if self._phase is Phase.FULL else self._resolve()

    def _resolve(self) -> list[Envelope]:
        """Balances the violation among the fresh nodes, polls one more, or begins a full sync."""
        must_be_full = self._zone is None or self._is_faulty or self._is_doubling or self._is_eager
        if must_be_full or self._version + 1 >= version(generation(self._version) + 1):
            return self._begin_full()
        assert self._zone is not None
        members = self._search.balanced(self._books, self._zone)
        if members is not None:
            return self._finish_lazy(members)
        node = self._search.next(self._books)
        if node is None:
            self._books.lazy_uses[:] = 0
            return self._begin_full()
        return self._poll(np.array([node]), Phase.LAZY)

    @property
    def _is_doubling(self) -> bool:
        return self._may_double and self._neighbourhood_streak > PATIENCE * int(self._books.is_live.sum())

    def _poll(self, nodes: Indices, phase: Phase) -> list[Envelope]:
        self._phase = phase
        asked = [int(node) for node in nodes if not self._books.is_fresh[node]]
        self._pending = set(asked)
        return [self._request(node) for node in asked]

    def _begin_full(self) -> list[Envelope]:
        asked = self._poll(np.flatnonzero(self._books.is_live), Phase.FULL)
        return asked if asked or not self._books.is_live.any() else self._finish_full()

    def _finish_lazy(self, members: Indices) -> list[Envelope]:
        self._version += 1
        self._books.balance(members, self._version)
        self.lazy_syncs += 1
        out = []
        for node in members.tolist():
            if self._books.has_zone[node]:
                out.append(Envelope(node, Slack(self._version, self._books.slack[node].copy())))
            else:
                out.append(self._whole_constraint(node))
        self._settle()
        return out

    def _finish_full(self) -> list[Envelope]:
        live = np.flatnonzero(self._books.is_live)
        reference = self._books.centre(live)
        if self._is_doubling:
            self.radius *= 2
            self._neighbourhood_streak = 0
        self._zone, self._light_zone = self._derivation.zone(reference, self.radius), None
        self._version = version(generation(self._version) + 1)
        self._books.renew(live, reference if self._has_slack else None, self._version)
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
        self._books.forget()
        self._is_faulty = False
        self._search.forget()

    # Messages

    def _request(self, node: int) -> Envelope:
        return Envelope(node, Request(int(self._books.versions[node])))

    def _whole_constraint(self, node: int) -> Envelope:
        zone = self._zone
        assert zone is not None
        if isinstance(zone, QuadraticZone) and self._books.has_hessian[node]:
            zone = self._light_zone = self._light_zone or zone.without_factor()
        self._books.has_zone[node] = self._books.has_hessian[node] = True
        slack = self._books.slack[node].copy() if self._has_slack else None
        return Envelope(node, Constraint(int(self._books.versions[node]), zone, slack))
