"""What follows from a history, in numbers: `History.summary`, which says what each of them means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from heflwr.flower.cost import is_possible
from heflwr.flower.entry import ERROR, LOST, Entry
from heflwr.flower.history.learning import accuracy_of

_COUNTS = {ERROR: "errors", LOST: "lost"}
_SUMS = {"seconds": "call_seconds", "cpu_seconds": "cpu_seconds", "energy_joules": "energy_joules"}
"""Columns that are added up, and what their sum is called."""

LAST_MOMENT = 1e11
"""Unix time, seconds, in the year 5138: what is later, or before 1970, is no time of a message."""


def summarize(entries: Sequence[Entry], scores: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """Return a run's totals, its rounds and its nodes. Never raises, whatever the entries hold."""
    run = _Tally()
    rounds: dict[int, _Round] = {}
    nodes: dict[int, _Tally] = {}
    names = names_of(entries)
    for entry in entries:
        run.take(entry)
        rounds.setdefault(entry.round, _Round()).take(entry)
        nodes.setdefault(entry.node, _Tally()).take(entry)
    slowest, ratio = _slowest({node: tally.sums["seconds"] for node, tally in nodes.items() if "seconds" in tally.sums})
    energies = [one.tally.sums["energy_joules"] for one in rounds.values() if "energy_joules" in one.tally.sums]
    return {
        "rounds": sum(number > 0 for number in rounds),
        "nodes": len(nodes),
        **run.record(),
        "slowest_node": slowest,
        "slowest_name": None if slowest is None else names[slowest],
        "straggler_ratio": ratio,
        "energy_joules_per_round": sum(energies) / len(energies) if energies else None,
        "accuracy": _accuracy(entries, scores),
        "per_round": {number: rounds[number].record(names) for number in sorted(rounds)},
        "per_node": {node: {"name": names[node], **nodes[node].record()} for node in nodes},
    }


def names_of(entries: Sequence[Entry]) -> dict[int, str]:
    """Return what to call each node, in the order in which they came: the latest name that is more than the id."""
    names: dict[int, str] = {}
    for entry in entries:
        if entry.name != str(entry.node) or entry.node not in names:
            names[entry.node] = entry.name
    return names


def spent_by_round(entries: Sequence[Entry], column: str) -> dict[int, float]:
    """Return the sum of a column by round, in rising order; rounds in which nobody measured it are not there."""
    spent: dict[int, float] = {}
    for entry in entries:
        if (value := measured(entry, column)) is not None:
            spent[entry.round] = spent.get(entry.round, 0.0) + value
    return dict(sorted(spent.items()))


def measured(entry: Entry, column: str) -> float | None:
    """Return what a call cost, None where that was not measured or cannot be: nothing that sums could not bear."""
    value = entry.cost.get(column)
    return value if value is not None and is_possible(column, value) else None


def is_moment(moment: float | None) -> bool:
    """Tell whether this can be the time of a message, Unix seconds."""
    return moment is not None and 0 <= moment <= LAST_MOMENT


def straggler_ratio(seconds: Collection[float]) -> float | None:
    """Return how many times the median the longest of these durations is, None where that means nothing."""
    median = statistics.median(seconds) if seconds else 0.0
    ratio = max(seconds) / median if median > 0 else math.inf
    return ratio if math.isfinite(ratio) else None


class _Tally:
    """Adds up messages."""

    __slots__ = ("begun", "counts", "ended", "messages", "peak", "received", "reports", "sent", "sums")

    def __init__(self) -> None:
        self.messages = self.reports = self.sent = self.received = 0
        self.counts = dict.fromkeys(_COUNTS.values(), 0)
        self.sums: dict[str, float] = {}
        self.peak: float | None = None
        self.begun, self.ended = math.inf, -math.inf

    def take(self, entry: Entry) -> None:
        self.messages += 1
        self.reports += bool(entry.cost)
        if entry.status in _COUNTS:
            self.counts[_COUNTS[entry.status]] += 1
        self.sent += entry.bytes_sent
        self.received += entry.bytes_received
        if is_moment(entry.sent):
            self.begun = min(self.begun, entry.sent)
        if entry.received is not None and is_moment(entry.received):
            self.ended = max(self.ended, entry.received)
        for column in _SUMS:
            if (value := measured(entry, column)) is not None:
                self.sums[column] = self.sums.get(column, 0.0) + value
        if (peak := measured(entry, "memory_peak_bytes")) is not None:
            self.peak = peak if self.peak is None else max(self.peak, peak)

    def record(self) -> dict[str, Any]:
        wall = self.ended - self.begun
        return {
            "messages": self.messages,
            "reports": self.reports,
            **self.counts,
            "wall_seconds": max(0.0, wall) if math.isfinite(wall) else None,
            **{name: self.sums.get(column) for column, name in _SUMS.items()},
            "memory_peak_bytes": self.peak,
            "bytes_sent": self.sent,
            "bytes_received": self.received,
        }


class _Round:
    """Adds up a round, and looks for who held it up."""

    __slots__ = ("kinds", "tally")

    def __init__(self) -> None:
        self.tally = _Tally()
        self.kinds: dict[str, dict[int, float]] = {}  # seconds in calls, by kind of message and node

    def take(self, entry: Entry) -> None:
        self.tally.take(entry)
        if (seconds := measured(entry, "seconds")) is not None:
            kind = self.kinds.setdefault(entry.kind, {})
            kind[entry.node] = kind.get(entry.node, 0.0) + seconds

    def record(self, names: Mapping[int, str]) -> dict[str, Any]:
        longest: dict[int, float] = max(self.kinds.values(), key=lambda kind: max(kind.values()), default={})
        slowest, ratio = _slowest(longest)
        return self.tally.record() | {
            "slowest_node": slowest,
            "slowest_name": None if slowest is None else names[slowest],
            "straggler_ratio": ratio,
        }


def _slowest(seconds: Mapping[int, float]) -> tuple[int | None, float | None]:
    """Return the node with the most seconds, and how many times the median node's these are."""
    if not seconds:
        return None, None
    return max(seconds, key=lambda node: seconds[node]), straggler_ratio(seconds.values())


def _accuracy(entries: Sequence[Entry], scores: Mapping[int, Mapping[str, float]]) -> dict[str, Any] | None:
    found = accuracy_of(entries, scores)
    if found is None:
        return None
    first, best, gained = found.first_round, found.best_round, found.gained_points
    a_point: dict[str, float | None] = {}
    for column in ("cpu_seconds", "energy_joules"):
        spent = [value for number, value in spent_by_round(entries, column).items() if first < number <= best]
        price = sum(spent) / gained if spent and gained > 0 else math.inf
        a_point[f"{column}_per_point"] = price if math.isfinite(price) else None
    return {
        "metric": found.metric,
        "source": found.source,
        "first_percent": found.percent[first],
        "best_percent": found.percent[best],
        "best_round": best,
        "gained_points": gained,
        **a_point,
        "percent_per_round": dict(found.percent),
    }
