"""How far a run is, from what a sink hears: the batch on its way, every node's last call, totals, the accuracy."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace

from heflwr.flower.entry import LOST, OK, Entry
from heflwr.flower.history.learning import Accuracy, accuracy_of
from heflwr.flower.history.ledger import History

SUMMED = ("cpu_seconds", "energy_joules")

WAITING_MOST = 1000
"""Batches with answers missing that are remembered: an app may never ask for some of its replies."""


@dataclass(slots=True)
class Totals:
    """What messages add up to; `sums` by column, of those that somebody measured."""

    calls: int = 0
    errors: int = 0
    lost: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def take(self, entry: Entry) -> None:
        """Add a message."""
        self.calls += 1
        self.errors += entry.status not in (OK, LOST)
        self.lost += entry.status == LOST
        for column in SUMMED:
            if column in entry.cost:
                self.sums[column] = self.sums.get(column, 0.0) + entry.cost[column]


@dataclass(slots=True)
class Batch:
    """Messages of one kind that went out together.

    Attributes:
        kind: Type of message.
        round: 1, 2, ...
        nodes: How many were asked.
        begun: When, by the monotonic clock.
        ended: When all were answered or given up; None before.
        entries: What became of them so far.
    """

    kind: str
    round: int
    nodes: int
    begun: float
    ended: float | None = None
    entries: list[Entry] = field(default_factory=list)

    def elapsed(self) -> float:
        """Return how long it took, or has taken so far, seconds."""
        return (time.monotonic() if self.ended is None else self.ended) - self.begun

    def totals(self) -> Totals:
        """Return what its messages add up to so far."""
        totals = Totals()
        for entry in self.entries:
            totals.take(entry)
        return totals


@dataclass(frozen=True, slots=True)
class View:
    """How far a run is at one moment.

    Attributes:
        elapsed: Since the run began, seconds.
        batch: The latest on its way, else the latest that came back; None before the first. One that a later batch of
            its kind has overtaken is not waited for: its last replies may never be asked for.
        kind: The type of message that took most of the nodes' time so far; "" before the first reply.
        calls: Each node's last call of that kind.
        round: The latest round among them.
        totals: Of all calls of all kinds.
        accuracy: The latest round with one, and percent: the server's where it noted any, else the clients'.
    """

    elapsed: float
    batch: Batch | None
    kind: str
    calls: tuple[Entry, ...]
    round: int
    totals: Totals
    accuracy: tuple[int, float] | None


class Progress:
    """Listens like a sink; safe to use from any thread."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._waiting: list[Batch] = []
        self._complete: dict[str, Batch] = {}  # by kind, the one of those that came back which was sent last
        self._last: dict[str, dict[int, Entry]] = {}  # by kind and node
        self._seconds: dict[str, float] = {}  # in calls, by kind
        self._totals = Totals()
        self._accuracy: tuple[int, float] | None = None

    def sent(self, kind: str, round: int, nodes: int) -> None:
        """Messages went out."""
        with self._lock:
            self._waiting = self._waiting[1 - WAITING_MOST :]
            self._waiting.append(Batch(kind, round, nodes, time.monotonic()))

    def take(self, entry: Entry) -> Batch | None:
        """Take what became of a message; return its batch where that was the last one missing."""
        with self._lock:
            self._add(entry)
            for batch in self._waiting:
                if (batch.kind, batch.round) == (entry.kind, entry.round):
                    batch.entries.append(entry)
                    return self._end(batch) if len(batch.entries) >= batch.nodes else None
            return None

    def waiting(self) -> tuple[Batch, ...]:
        """Return batches of which answers are missing."""
        with self._lock:
            return tuple(self._waiting)

    def view(self) -> View:
        """Return how far the run is now."""
        with self._lock:
            kind = max(self._seconds, key=lambda kind: self._seconds[kind], default="")
            calls = tuple(self._last.get(kind, {}).values())
            return View(
                elapsed=time.monotonic() - self._begun,
                batch=self._shown(),
                kind=kind,
                calls=calls,
                round=max((call.round for call in calls), default=0),
                totals=replace(self._totals, sums=dict(self._totals.sums)),
                accuracy=_latest(accuracy_of((), self._history.scores)) or self._accuracy,
            )

    def _add(self, entry: Entry) -> None:
        self._last.setdefault(entry.kind, {})[entry.node] = entry
        self._seconds[entry.kind] = self._seconds.get(entry.kind, 0.0) + entry.cost.get("seconds", 0.0)
        self._totals.take(entry)

    def _shown(self) -> Batch | None:
        for batch in reversed(self._waiting):
            overtaking = self._complete.get(batch.kind)
            if overtaking is None or overtaking.begun <= batch.begun:
                return batch
        return max(self._complete.values(), key=lambda batch: batch.ended or 0.0, default=None)

    def _end(self, batch: Batch) -> Batch:
        batch.ended = time.monotonic()
        self._waiting.remove(batch)
        before = self._complete.get(batch.kind)
        if before is None or before.begun <= batch.begun:
            self._complete[batch.kind] = batch
        told = _latest(accuracy_of(batch.entries, {}))
        if told is not None and (self._accuracy is None or self._accuracy[0] <= told[0]):
            self._accuracy = told
        return batch


def _latest(accuracy: Accuracy | None) -> tuple[int, float] | None:
    """Return the last round with an accuracy, and percent."""
    return None if accuracy is None else max(accuracy.percent.items())
