"""What follows from a history, in numbers: `History.summary`, which says what each of them means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from heflwr.flower.entry import ERROR, LOST, Entry
from heflwr.flower.history.learning import accuracy_of

_COUNTS = {ERROR: "errors", LOST: "lost"}
_SUMS = {"seconds": "call_seconds", "cpu_seconds": "cpu_seconds", "energy_joules": "energy_joules"}
"""Columns that are added up, and what their sum is called."""


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
        if (value := finite(entry.cost, column)) is not None:
            spent[entry.round] = spent.get(entry.round, 0.0) + value
    return dict(sorted(spent.items()))


def finite(numbers: Mapping[str, float], name: str) -> float | None:
    """Return a number that can be reckoned with, else None."""
    value = numbers.get(name)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def straggler_ratio(seconds: Collection[float]) -> float | None:
    """Return how many times the median the longest of these durations is, None where that means nothing."""
    median = statistics.median(seconds) if seconds else 0.0
    return max(seconds) / median if median > 0 else None


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
        if math.isfinite(entry.sent):
            self.begun = min(self.begun, entry.sent)
        if entry.received is not None and math.isfinite(entry.received):
            self.ended = max(self.ended, entry.received)
        for column in _SUMS:
            if (value := finite(entry.cost, column)) is not None:
                self.sums[column] = self.sums.get(column, 0.0) + value
        if (peak := finite(entry.cost, "memory_peak_bytes")) is not None:
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
        if (seconds := finite(entry.cost, "seconds")) is not None:
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
    gained = found.gained_points
    a_point: dict[str, float | None] = {}
    for column in ("cpu_seconds", "energy_joules"):
        by_round = spent_by_round(entries, column).items()
        spent = [value for number, value in by_round if found.first_round < number <= found.best_round]
        a_point[f"{column}_per_point"] = sum(spent) / gained if spent and gained > 0 else None
    return {
        "metric": found.metric,
        "source": found.source,
        "first_percent": found.percent[found.first_round],
        "best_percent": found.percent[found.best_round],
        "best_round": found.best_round,
        "gained_points": gained,
        **a_point,
        "percent_per_round": dict(found.percent),
    }
