"""Whom a lazy sync takes in: the violators, then one more node after the other, until they balance or are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from heflwr.automon.protocols.gm.books import Books
    from heflwr.automon.zones.zone import Indices, Zone

Sync = Literal["eager", "lazy-random", "lazy-lru"]

LAZY_SHARE = 0.5
"""Share of the live nodes that a lazy sync may use before it gives up; the paper's."""


class Search:
    """The search for nodes that balance a violation.

    Args:
        sync: "lazy-random": nodes are asked in any order; else those first that were asked least.
        lazy_share: Largest share of the live nodes that may be used.
        seed: Of the order.
    """

    def __init__(self, sync: Sync, lazy_share: float, seed: int) -> None:
        self._is_random = sync == "lazy-random"
        self._lazy_share = lazy_share
        self._random = np.random.default_rng(seed)
        self._candidates: list[int] | None = None  # nodes still to ask in this sync, last first

    def forget(self) -> None:
        """The sync at hand has ended, or others take part."""
        self._candidates = None

    def balanced(self, books: Books, zone: Zone) -> Indices | None:
        """The nodes whose mean x - slack is inside the zone; None where those at hand do not balance."""
        most = self._most(books)
        if books.has_new_violator:
            # A violation may have arrived while a node was polled: try the violators alone before all of the fresh.
            books.has_new_violator = False
            members = np.flatnonzero(books.is_violating)
            if 0 < len(members) <= most and zone.violation(books.point(members)) is None:
                return members
        if 0 < books.fresh_count <= most and zone.violation(books.fresh_point()) is None:
            return np.flatnonzero(books.is_fresh)
        return None

    def next(self, books: Books) -> int | None:
        """The next node to ask; None where no more may be."""
        if books.fresh_count >= self._most(books):
            return None
        if self._candidates is None:
            self._candidates = self._order(books)
        while True:
            node = self._candidates.pop()
            if books.is_live[node] and not books.is_fresh[node]:
                return node

    def _most(self, books: Books) -> int:
        return int(np.round(self._lazy_share * np.count_nonzero(books.is_live)))

    def _order(self, books: Books) -> list[int]:
        """The live nodes, the first to ask last."""
        live = np.flatnonzero(books.is_live)
        order = self._random.permutation(live) if self._is_random else books.least_used(live)
        return [int(node) for node in order[::-1]]
