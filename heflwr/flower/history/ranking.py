"""Nodes by what they cost: what a strategy asks before it chooses, in every round."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence

from heflwr.flower.cost import NAMES
from heflwr.flower.entry import Entry
from heflwr.flower.history.summary import measured

WORDS: dict[str, tuple[str, ...]] = {
    "energy": ("energy_joules",),
    "cpu": ("cpu_seconds",),
    "memory": ("memory_peak_bytes",),
    "network": ("network_bytes_sent", "network_bytes_recv"),
}
"""Short words for columns; the columns of one word are added."""

QUESTIONS_MOST = 16
"""Different questions whose tallies are kept; a strategy asks one or two, again and again."""


class Rankings:
    """Answers `History.rank` on entries that only grow, and looks at each of them once a question."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._tallies: dict[tuple[str, str, int | None], _Tally] = {}

    def rank(
        self, metric: str, *, kind: str, last: int | None, nodes: Iterable[int] | None
    ) -> list[tuple[int, float | None]]:
        """Return nodes with their mean cost, cheapest first (see `History.rank`)."""
        if metric not in WORDS and metric not in NAMES:
            raise ValueError(f"metric must be one of {', '.join((*WORDS, *NAMES))}, got {metric!r}")
        if last is not None and last < 1:
            raise ValueError(f"last must be >= 1 or None, got {last!r}")
        question = metric, kind, last
        tally = self._tallies.pop(question, None) or _Tally(WORDS.get(metric, (metric,)), kind, last)
        self._tallies[question] = tally  # now the latest
        if len(self._tallies) > QUESTIONS_MOST:
            del self._tallies[next(iter(self._tallies))]
        tally.take(self._entries)
        return tally.ranked(nodes)


class _Tally:
    """What each node was asked and what that cost, for one question."""

    def __init__(self, columns: tuple[str, ...], kind: str, last: int | None) -> None:
        self._columns = columns
        self._kind = kind
        self._last = last
        self._seen = 0
        self._asked: dict[int, int] = {}
        self._sums: dict[int, tuple[float, int]] = {}  # with how many they are; where all calls count
        self._latest: dict[int, deque[float]] = {}  # where only so many count

    def take(self, entries: Sequence[Entry]) -> None:
        """Take in what came since the last time."""
        for entry in entries[self._seen :]:
            asked = self._asked.get(entry.node, 0)
            if self._kind not in (entry.kind, entry.kind.partition(".")[0]):
                self._asked[entry.node] = asked
                continue
            self._asked[entry.node] = asked + 1
            values = [value for column in self._columns if (value := measured(entry, column)) is not None]
            if values:
                self._add(entry.node, sum(values))
        self._seen = len(entries)

    def ranked(self, nodes: Iterable[int] | None) -> list[tuple[int, float | None]]:
        """Return nodes, by default all, with their mean cost, cheapest first."""
        means = [(node, self._mean(node)) for node in (self._asked if nodes is None else dict.fromkeys(nodes))]
        return sorted(means, key=lambda one: (0, self._asked.get(one[0], 0)) if one[1] is None else (1, one[1]))

    def _add(self, node: int, cost: float) -> None:
        if self._last is None:
            total, count = self._sums.get(node, (0.0, 0))
            self._sums[node] = total + cost, count + 1
        else:
            self._latest.setdefault(node, deque(maxlen=min(self._last, sys.maxsize))).append(cost)

    def _mean(self, node: int) -> float | None:
        if self._last is None:
            total, count = self._sums.get(node, (0.0, 0))
            return total / count if count else None
        latest = self._latest.get(node)
        return sum(latest) / len(latest) if latest else None
