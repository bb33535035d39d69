"""What AutoMon's coordinator knows of its nodes: vectors, slacks, and who takes part in the sync at hand.

The law: over the live nodes the slacks sum to minus the debt, which a departure leaves and the next sync pays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.protocols.rows import as_arrays, make_room, restore

if TYPE_CHECKING:
    from heflwr.automon.zones.zone import Floats, Indices


class Books:
    """A row a node in every array; a node is fresh while its vector of this sync is at hand.

    Args:
        nodes: How many there are at the start; all are live.
        dim: Of their vectors.
    """

    def __init__(self, nodes: int, dim: int) -> None:
        self.vectors = np.zeros((nodes, dim))
        self.slack = np.zeros((nodes, dim))
        self.debt = np.zeros(dim)
        self.is_live = np.ones(nodes, dtype=bool)
        self.is_lost = np.zeros(nodes, dtype=bool)
        self.is_fresh = np.zeros(nodes, dtype=bool)
        self.is_violating = np.zeros(nodes, dtype=bool)
        self.has_zone = np.zeros(nodes, dtype=bool)
        """Holds the present zone, as far as we know."""
        self.has_hessian = np.zeros(nodes, dtype=bool)
        """Holds the constant Hessian."""
        self.versions = np.zeros(nodes, dtype=np.int64)
        self.lazy_uses = np.zeros(nodes, dtype=np.int64)
        self.fresh_count = 0
        self.has_new_violator = False
        """Since the violators were last tried among themselves."""
        self._fresh_sum = np.zeros(dim)  # of x - slack over the fresh nodes

    def holds(self, node: int) -> bool:
        """Whether a node is here and live."""
        return 0 <= node < len(self.is_live) and bool(self.is_live[node])

    def admit(self, node: int) -> None:
        """Makes room for a node and counts it in, without a slack."""
        make_room(self, PER_NODE, node)
        self.is_live[node], self.is_lost[node] = True, False
        self.versions[node] = self.lazy_uses[node] = 0

    def dismiss(self, node: int) -> None:
        """Counts a live node out; its slack is owed."""
        self.is_live[node], self.is_lost[node] = False, True
        self.unnote(node)
        for flags in (self.is_fresh, self.is_violating, self.has_zone, self.has_hessian):
            flags[node] = False
        self.debt += self.slack[node]
        self.slack[node] = 0.0

    def note(self, node: int, vector: Floats, is_violating: bool) -> None:
        """Takes a node's vector, which is fresh from now on."""
        self.unnote(node)
        self.vectors[node] = vector
        self.is_fresh[node] = True
        self.fresh_count += 1
        self._fresh_sum += vector - self.slack[node]
        self.is_violating[node] |= is_violating
        self.has_new_violator |= bool(self.is_violating[node])

    def unnote(self, node: int) -> None:
        """Takes a fresh vector back, for a newer one or none."""
        if self.is_fresh[node]:
            self.is_fresh[node] = False
            self.fresh_count -= 1
            self._fresh_sum -= self.vectors[node] - self.slack[node]

    def forget(self) -> None:
        """Drops what was learnt for the sync at hand."""
        self.is_fresh[:] = False
        self.fresh_count = 0
        self._fresh_sum[:] = 0.0
        self.is_violating[:] = False
        self.has_new_violator = False

    def point(self, members: Indices) -> Floats:
        """Where the members' x - slack would all lie if they shared their slacks and the debt, shape (d,)."""
        vectors, slack = self.vectors[members].sum(axis=0), self.slack[members].sum(axis=0)
        point: Floats = vectors / len(members) - (slack + self.debt) / len(members)
        return point

    def fresh_point(self) -> Floats:
        """The same of all fresh nodes."""
        point: Floats = (self._fresh_sum - self.debt) / self.fresh_count
        return point

    def balance(self, members: Indices, version: int) -> None:
        """Shares the members' slacks and the debt, so that all lie at their `point`."""
        self.slack[members] = self.vectors[members] - self.point(members)
        self.debt[:] = 0.0
        self.lazy_uses[members] += 1
        self.versions[members] = version

    def least_used(self, members: Indices) -> Indices:
        """The members in the order of how few lazy syncs they took part in."""
        return members[np.argsort(self.lazy_uses[members], kind="stable")]

    def centre(self, members: Indices) -> Floats:
        """The members' mean vector, shape (d,)."""
        mean: Floats = self.vectors[members].sum(axis=0) / len(members)
        return mean

    def renew(self, members: Indices, reference: Floats | None, version: int) -> None:
        """Gives all members the slack x - reference; None: no slack."""
        if reference is not None:
            self.slack[members] = self.vectors[members] - reference
        self.debt[:] = 0.0
        self.versions[members] = version

    @property
    def slack_sum(self) -> Floats:
        """Over the live nodes, shape (d,)."""
        total: Floats = self.slack[self.is_live].sum(axis=0)
        return total

    @property
    def state(self) -> dict[str, Any]:
        """All that has to survive a restart, as arrays."""
        return {**as_arrays(self, PER_NODE), "debt": self.debt.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], dim: int) -> Books:
        """The books as they were, with no sync at hand.

        Raises:
            ValueError: The state is of another protocol or of vectors of another size.
        """
        books = cls(len(state.get("is_live", ())), dim)
        restore(books, PER_NODE, state, "a coordinator of AutoMon's protocol")
        books.debt = np.array(state["debt"])
        books.forget()
        return books


PER_NODE: Sequence[str] = (
    "vectors",
    "slack",
    "is_live",
    "is_lost",
    "is_fresh",
    "is_violating",
    "has_zone",
    "has_hessian",
    "versions",
    "lazy_uses",
)
"""The arrays with a row a node."""
