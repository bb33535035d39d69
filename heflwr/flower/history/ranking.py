"""Nodes by what they cost: what a strategy asks before it chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heflwr.flower.cost import NAMES
from heflwr.flower.entry import Entry
from heflwr.flower.history.summary import finite

WORDS: dict[str, tuple[str, ...]] = {
    "energy": ("energy_joules",),
    "cpu": ("cpu_seconds",),
    "memory": ("memory_peak_bytes",),
    "network": ("network_bytes_sent", "network_bytes_recv"),
}
"""Short words for columns; the columns of one word are added."""


def rank(
    entries: Sequence[Entry], metric: str, *, kind: str, last: int | None, nodes: Iterable[int] | None
) -> list[tuple[int, float | None]]:
    """Return nodes with their mean cost, cheapest first (see `History.rank`)."""
    if metric not in WORDS and metric not in NAMES:
        raise ValueError(f"metric must be one of {', '.join((*WORDS, *NAMES))}, got {metric!r}")
    if last is not None and last < 1:
        raise ValueError(f"last must be >= 1 or None, got {last!r}")
    columns = WORDS.get(metric, (metric,))
    asked = dict.fromkeys((entry.node for entry in entries) if nodes is None else nodes, 0)
    costs: dict[int, list[float]] = {node: [] for node in asked}
    for entry in entries:
        if entry.node in asked and kind in (entry.kind, entry.kind.partition(".")[0]):
            asked[entry.node] += 1
            values = [value for column in columns if (value := finite(entry.cost, column)) is not None]
            if values:
                costs[entry.node].append(sum(values))
    means: dict[int, float | None] = {}
    for node, values in costs.items():
        recent = values if last is None else values[-last:]
        means[node] = sum(recent) / len(recent) if recent else None
    return sorted(means.items(), key=lambda item: (1, item[1]) if item[1] is not None else (0, asked[item[0]]))
