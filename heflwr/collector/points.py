"""What the fleet's table draws of a client: from counts and sums of its metrics to a point a step."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

from heflwr.collector.metrics import NETWORK, POWER_MILLIWATTS, SPARKS
from heflwr.collector.store import rollups
from heflwr.collector.store.reading import Columns
from heflwr.collector.store.rollups import Rollup

Point = tuple[float | None, ...]

DRAWN = ("cpu_usage", "memory_usage", *NETWORK, POWER_MILLIWATTS)
"""The metrics that the lines are made of."""

Piece = tuple[float, ...]
"""Counts, then sums, of these metrics in a part of a step."""


_PARTS = (1_000, 1_000, 1, 1_000)
"""Parts of a percent, a percent, a byte a second and a watt that are told: more than a line of the table shows."""

NOTHING: Point = (None,) * (len(SPARKS) + 1)


class Drawn:
    """Reads the metrics that are drawn out of rollups."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._places: dict[int, list[int | None]] = {}

    def pieces(self, columns_id: int, packed: Sequence[bytes]) -> Iterator[Piece]:
        """Return those of packed rollups, in their order."""
        return rollups.counts_and_sums(packed, len(self.columns[columns_id]), self._of(columns_id))

    def loose(self, columns_id: int, rollup: Rollup) -> Piece:
        """Return those of a rollup that is not packed."""
        numbers = (rollup.counts, rollup.sums)
        return tuple(0.0 if place is None else of[place] for of in numbers for place in self._of(columns_id))

    def _of(self, columns_id: int) -> list[int | None]:
        if columns_id not in self._places:
            names = self.columns[columns_id]
            self._places[columns_id] = [names.index(name) if name in names else None for name in DRAWN]
        return self._places[columns_id]


def add(pieces: dict[int, Piece], at: int, piece: Piece) -> None:
    """Add a piece to those of its step."""
    pieces[at] = tuple(map(operator.add, pieces[at], piece)) if at in pieces else piece


def points_of(pieces: dict[int, Piece], interval: float) -> dict[int, Point]:
    """Return what the fleet's table draws of each step, and the bytes of both ways; by metric, which is faster."""
    if not pieces:
        return {}
    cpus, memories, sends, receives, powers, cpu, memory, sent, received, power = zip(*pieces.values(), strict=True)
    each_way = zip(_means(sent, sends), _means(received, receives), strict=True)
    per_second = 1 / interval if interval > 0 else 0.0
    lines = [
        _means(cpu, cpus),
        _means(memory, memories),
        [None if out is back is None else ((out or 0.0) + (back or 0.0)) * per_second for out, back in each_way],
        [None if mean is None else mean / 1000 for mean in _means(power, powers)],
    ]
    rounded = [
        [None if value is None else round(value * parts) / parts for value in line]
        for line, parts in zip(lines, _PARTS, strict=True)
    ]
    return dict(zip(pieces, zip(*rounded, map(operator.add, sent, received), strict=True), strict=True))


def _means(sums: Sequence[float], counts: Sequence[float]) -> list[float | None]:
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]
