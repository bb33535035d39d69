"""What the one-way coordinator knows of its nodes: anchors, what each holds, and its weight.

The laws: a node is known when its anchor counts; the weights of the known sum to their number at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.protocols.oneway.weights import WORTHWHILE, dealt, saved, within
from heflwr.automon.protocols.rows import as_arrays, make_room, restore

if TYPE_CHECKING:
    from heflwr.automon.messages import Report
    from heflwr.automon.zones.zone import Floats, Indices


class Books:
    """A row a node in every array.

    Args:
        nodes: How many there are at the start; all are live.
        dim: Of their vectors.
    """

    def __init__(self, nodes: int, dim: int) -> None:
        self.anchors = np.zeros((nodes, dim))
        self.is_live = np.ones(nodes, dtype=bool)
        self.is_lost = np.zeros(nodes, dtype=bool)
        self.is_known = np.zeros(nodes, dtype=bool)
        """Its anchor counts."""
        self.has_zone = np.zeros(nodes, dtype=bool)
        self.has_hessian = np.zeros(nodes, dtype=bool)
        self.is_confirmed = np.zeros(nodes, dtype=bool)
        """The last constraint with an anchor has arrived there."""
        self.versions = np.zeros(nodes, dtype=np.int64)
        self.since = np.zeros(nodes, dtype=np.int64)
        """Reports of older versions are of an anchor given up."""
        self.sequences = np.zeros(nodes, dtype=np.int64)
        self.weights = np.ones(nodes)
        self.reports = np.zeros(nodes, dtype=np.int64)
        """Those since weights were dealt that a weight has a say in."""

    def holds(self, node: int) -> bool:
        """Whether a node is here and live."""
        return 0 <= node < len(self.is_live) and bool(self.is_live[node])

    def is_news(self, report: Report) -> bool:
        """Whether a report is newer than what is known of its node's present anchor."""
        return bool(report.version >= self.since[report.node] and report.sequence > self.sequences[report.node])

    @property
    def known(self) -> Indices:
        """The nodes whose anchors count."""
        return np.flatnonzero(self.is_known)

    def centre(self) -> Floats:
        """The mean anchor, shape (d,)."""
        mean: Floats = self.anchors[self.is_known].mean(axis=0)
        return mean

    def admit(self, node: int) -> None:
        """Makes room for a node and counts it in, with a weight of one for when it is known."""
        make_room(self, PER_NODE, node)
        for name in PER_NODE:
            getattr(self, name)[node] = 0
        self.is_live[node], self.weights[node] = True, 1.0

    def dismiss(self, node: int) -> None:
        """Counts a live node out; the weight that the others have too much is the heaviest's, who hold no zone then."""
        self.is_live[node], self.is_lost[node] = False, True
        for flags in (self.is_known, self.has_zone, self.has_hessian, self.is_confirmed):
            flags[node] = False
        known = self.known
        kept = within(self.weights[known])
        self.has_zone[known[kept < self.weights[known]]] = False
        self.weights[known] = kept

    def forget(self) -> None:
        """Nothing that nodes were sent or said counts any more."""
        for flags in (self.is_known, self.has_zone, self.has_hessian, self.is_confirmed):
            flags[:] = False
        self.since[:] = 0
        self.sequences[:] = -1

    def deal(self) -> None:
        """Gives the known the weights that their reports call for; if those say too little, half of them count on."""
        known = self.known
        before = within(self.weights[known])  # after a restart the light ones may have gone before any was known
        self.weights[known] = dealt(before, self.reports[known])
        if np.array_equal(before, self.weights[known]):
            self.reports //= 2
        else:
            self.reports[:] = 0

    def level(self) -> None:
        """Gives all the same weight."""
        self.weights[:] = 1.0
        self.reports[:] = 0

    def is_worth_dealing(self, nodes: int) -> bool:
        """Whether other weights would have saved enough reports for the messages that they take."""
        weights, reports = self.weights[self.known], self.reports[self.known]
        if reports.sum() < WORTHWHILE * nodes:
            return False
        return saved(weights, dealt(weights, reports), reports) >= WORTHWHILE * nodes

    @property
    def state(self) -> dict[str, Any]:
        """All that has to survive a restart, as arrays."""
        return as_arrays(self, PER_NODE)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], dim: int) -> Books:
        """The books as they were.

        Raises:
            ValueError: The state is of another protocol or of vectors of another size.
        """
        books = cls(len(state.get("is_live", ())), dim)
        restore(books, PER_NODE, state, "a one-way coordinator")
        return books


PER_NODE: Sequence[str] = (
    "anchors",
    "is_live",
    "is_lost",
    "is_known",
    "has_zone",
    "has_hessian",
    "is_confirmed",
    "versions",
    "since",
    "sequences",
    "weights",
    "reports",
)
"""The arrays with a row a node."""
