"""All clients at a glance: who lives, what each uses now, and a line of each over time.

A line's points are remembered once they are complete; a run whose older samples come late is read again.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from heflwr.collector.metrics import POWER_MILLIWATTS, SPARKS
from heflwr.collector.pace import Pace
from heflwr.collector.points import NOTHING, Drawn, Piece, Point, add, points_of
from heflwr.collector.spans import STEPS, Span
from heflwr.collector.spans import span as of_length
from heflwr.collector.store import Store, StoreFailed, reading, rolling, rollups
from heflwr.collector.store.chunks import plain
from heflwr.collector.store.database import Connection
from heflwr.collector.store.reading import Columns, RunRow
from heflwr.collector.store.rollups import LEVELS, Rollup

_logger = logging.getLogger("heflwr.collector")

LIVE_SECONDS = 10.0
LIVE_INTERVALS = 3
LIVE_PACES = 3
"""A client lives while it was heard of within so many of its intervals, within so many of the times that senders are
asked to gather samples for, and within so many seconds at least: by themselves senders gather for three."""

LOST_SECONDS = 600.0

AHEAD_SECONDS = (3_600.0, 86_400.0)
AHEAD_AT_ONCE = 100

POINTS = 60
"""Of a line, where nobody asks for another number."""

REMEMBERED = 20_000
"""Lines that are remembered, of some 8 KB each at sixty points."""


@dataclass(slots=True)
class _Line:
    """The points of a run at one step, numbered by Unix time over step; complete from `first` up to before `upto`."""

    late: int
    first: int
    upto: int
    points: dict[int, Point] = field(default_factory=dict)


class Fleet:
    """Answers what /api/v1/fleet asks."""

    def __init__(self, store: Store, tails: rolling.Tails, pace: Pace, *, lost_seconds: float = LOST_SECONDS) -> None:
        self._store = store
        self._tails = tails
        self._pace = pace
        self._lost_seconds = lost_seconds
        self._lines: OrderedDict[tuple[int, float], _Line] = OrderedDict()
        self._latest: OrderedDict[int, tuple[int, dict[str, float | int | None]]] = OrderedDict()
        self._lock = threading.Lock()

    def health(self, run: RunRow, now: float) -> str:
        """Return live, stale or lost, by when the collector last heard of a client."""
        age = now - run.received
        if age <= max(LIVE_SECONDS, LIVE_INTERVALS * run.interval, LIVE_PACES * self._pace.longest):
            return "live"
        return "stale" if age <= self._lost_seconds else "lost"

    def counts(self, now: float) -> dict[str, int]:
        """Return how many clients live, are stale and are lost.

        Raises:
            StoreFailed: The database cannot be read now.
        """
        with self._store.reading() as reader:
            return _counted(self.health(run, now) for run in reading.newest_runs(reader, (), REMEMBERED))

    def remember(self, now: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Read the lines of an hour and of a day ahead, so that the first who looks at them does not wait.

        Args:
            now: Unix seconds.
            is_over: Asked every hundred clients, between which others have their turn.
        """
        try:
            with self._store.reading() as reader:
                names = [run.identifier for run in reading.newest_runs(reader, (), REMEMBERED)]
            for seconds in AHEAD_SECONDS:
                span = of_length(now - seconds, now, POINTS, STEPS[0])
                for at in range(0, len(names), AHEAD_AT_ONCE):
                    if is_over():
                        return
                    self.view(span, names[at : at + AHEAD_AT_ONCE], AHEAD_AT_ONCE, now)
        except StoreFailed as error:
            _logger.warning("cannot read the fleet's lines ahead: %s", error)

    def view(self, span: Span, identifiers: Sequence[str], limit: int, now: float) -> dict[str, Any]:
        """Return the answer; `span` has steps of a minute or more."""
        with self._lock, self._store.reading() as reader:
            runs = reading.newest_runs(reader, identifiers, limit + 1)
            drawn = Drawn(Columns(reader))
            level = span.level or LEVELS[0]
            fresh: dict[int, list[tuple[int, dict[int, Rollup]]]] = {}
            with self._tails.at(reader, level) as tail:
                for (run_id, columns_id), buckets in tail.items():
                    fresh.setdefault(run_id, []).append((columns_id, buckets))
                found = [
                    self._client(reader, run, span, level, fresh.get(run.id, []), drawn, now) for run in runs[:limit]
                ]
        clients = [client for client, _ in found]
        return {
            "now": now,
            "start": span.start,
            "step": span.step,
            "counts": _counted(client["health"] for client in clients),
            "totals": _totals(clients, sum((transferred for _, transferred in found), 0.0)),
            "clients": clients,
            "truncated": len(runs) > limit,
        }

    def _client(
        self,
        reader: Connection,
        run: RunRow,
        span: Span,
        level: int,
        fresh: list[tuple[int, dict[int, Rollup]]],
        drawn: Drawn,
        now: float,
    ) -> tuple[dict[str, Any], float]:
        """Return a client's entry, and its bytes in the span."""
        points = self._points(reader, run, span, level, fresh, drawn)
        first = int(span.start // span.step)
        rows = [points.get(at, NOTHING) for at in range(first, first + span.count)]
        *lines, transferred = zip(*rows, strict=True)
        blank = (None,) * span.count
        return {
            "identifier": run.identifier,
            "run": run.run,
            "host": run.about.get("host", ""),
            "first": run.first,
            "last": run.last,
            "received": run.received,
            "samples": run.samples,
            "interval": float(f"{run.interval:.4g}"),
            "health": self.health(run, now),
            "latest": self._newest(reader, run, fresh, drawn.columns),
            "spark": {name: line for name, line in zip(SPARKS, lines, strict=True) if line != blank},
        }, sum(filter(None, transferred))

    def _points(
        self,
        reader: Connection,
        run: RunRow,
        span: Span,
        level: int,
        fresh: list[tuple[int, dict[int, Rollup]]],
        drawn: Drawn,
    ) -> dict[int, Point]:
        first, step = int(span.start // span.step), int(span.step)
        key = (run.id, span.step)
        line = self._lines.get(key)
        ratio = step // level
        oldest = min((min(buckets) // ratio for _, buckets in fresh), default=inf)
        if line is None or line.late != run.late or line.first > first or oldest < line.upto:
            line = self._lines[key] = _Line(run.late, first, first)
            while len(self._lines) > REMEMBERED:
                self._lines.popitem(last=False)
        self._lines.move_to_end(key)
        pieces: dict[int, Piece] = {}
        if run.last >= line.upto * span.step:  # else all is remembered
            for columns_id, numbers, packed in reading.packed_buckets(
                reader, run.id, level, line.upto * ratio, (first + span.count) * ratio - 1
            ):
                for bucket, piece in zip(numbers, drawn.pieces(columns_id, packed), strict=True):
                    add(pieces, bucket // ratio, piece)
        complete = max(pieces, default=-1)  # what is before the newest bucket does not change, but for what comes late
        for columns_id, buckets in fresh:
            for bucket, rollup in buckets.items():
                if bucket // ratio >= line.upto:
                    add(pieces, bucket // ratio, drawn.loose(columns_id, rollup))
        found = points_of(pieces, run.interval)
        for at in [at for at in line.points if at < first]:
            del line.points[at]
        line.first = first
        line.points.update((at, point) for at, point in found.items() if at < complete)
        line.upto = max(line.upto, complete)
        return {**line.points, **found}

    def _newest(
        self, reader: Connection, run: RunRow, fresh: list[tuple[int, dict[int, Rollup]]], columns: Columns
    ) -> dict[str, float | int | None]:
        """Return the latest value of each metric."""
        known = self._latest.get(run.id)
        if known is not None and known[0] == run.samples:
            return known[1]
        found: list[tuple[float, int, Rollup]] = []
        for level in LEVELS:  # the minutes of a run of long ago are forgotten
            row = reader.execute(
                "SELECT bucket, columns_id, data FROM rollups WHERE run_id = ? AND level = ?"
                " ORDER BY bucket DESC LIMIT 1",
                (run.id, level),
            ).fetchone()
            if row is not None:
                found.append((row[0], row[1], rollups.unpack(row[2])))
                break
        found += [(inf, columns_id, buckets[max(buckets)]) for columns_id, buckets in fresh]
        latest: dict[str, float | int | None] = {}
        for _, columns_id, rollup in sorted(found, key=lambda entry: entry[2].last_time):
            for place, metric in enumerate(columns[columns_id]):
                if rollup.counts[place]:
                    latest[metric] = plain(rollup.lasts[place])
        self._latest[run.id] = (run.samples, latest)
        while len(self._latest) > REMEMBERED:
            self._latest.popitem(last=False)
        return latest


def _counted(healths: Iterable[str]) -> dict[str, int]:
    counts = {"live": 0, "stale": 0, "lost": 0}
    for health in healths:
        counts[health] += 1
    return counts


def _totals(clients: Sequence[dict[str, Any]], network_bytes: float) -> dict[str, float | None]:
    """Return the fleet in four numbers: means and power of those that live, bytes of all in the span."""
    live = [client["latest"] for client in clients if client["health"] == "live"]

    def values(metric: str) -> list[float]:
        return [latest[metric] for latest in live if latest.get(metric) is not None]

    cpu, memory, power = values("cpu_usage"), values("memory_usage"), values(POWER_MILLIWATTS)
    return {
        "cpu_usage_mean": sum(cpu) / len(cpu) if cpu else None,
        "memory_usage_mean": sum(memory) / len(memory) if memory else None,
        "network_bytes": plain(network_bytes),
        "power_watts": sum(power) / 1000 if power else None,
    }
