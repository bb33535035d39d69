"""What is in the tables: clients, runs, raw samples and buckets."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from heflwr.collector.checks import INTERVAL_RANGE
from heflwr.collector.store import rollups
from heflwr.collector.store.chunks import Chunk, unpack
from heflwr.collector.store.database import Connection
from heflwr.collector.store.rolling import mark, tail
from heflwr.collector.store.rollups import Rollup

CHUNKS_AT_ONCE = 64
"""Chunks that a query takes at a time: what it holds in memory does not grow with what it reads."""

CLOCK_SECONDS = 86_400.0
"""A client whose latest sample was so old when it came has a clock that is off, or sends a spool of long ago."""

LATEST = 1e300
"""Later than any sample."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run.

    Attributes:
        first: Unix seconds of its first sample, by the sender's clock.
        last: Of its last one.
        received: Unix seconds of the last request, by the collector's clock.
        late: How often samples came that were older than what was rolled up.
    """

    id: int
    identifier: str
    run: str
    about: dict[str, Any]
    samples: int
    first: float
    last: float
    received: float
    late: int

    @property
    def interval(self) -> float:
        """Seconds between samples: what the sender said, else the mean; 0 where that is no time at all."""
        said = self.about.get("interval")
        if isinstance(said, int | float) and said > 0:
            return float(said)
        mean = (self.last - self.first) / (self.samples - 1) if self.samples > 1 else 1.0
        return mean if mean >= INTERVAL_RANGE[0] else 0.0


_RUN = "runs.id, identifier, run, about, samples, first, last, received, late"


def _run_rows(found: Sequence[Any]) -> list[RunRow]:
    return [
        RunRow(number, identifier, run, json.loads(about), samples, first, last, received, late)
        for number, identifier, run, about, samples, first, last, received, late in found
    ]


def newest_runs(reader: Connection, identifiers: Sequence[str], limit: int) -> list[RunRow]:
    """Return the newest run of each client (or of these clients), by identifier."""
    among = f"WHERE identifier IN ({', '.join('?' * len(identifiers))})" if identifiers else ""
    return _run_rows(
        reader.execute(
            f"SELECT {_RUN} FROM clients JOIN runs ON runs.id = newest_run {among} ORDER BY identifier LIMIT ?",
            (*identifiers, limit),
        ).fetchall()
    )


def begun(reader: Connection) -> float | None:
    """Return the time of the first sample of the clients' newest runs, of those whose clock was right; Unix seconds."""
    (first,) = reader.execute(
        "SELECT min(first) FROM clients JOIN runs ON runs.id = newest_run WHERE samples > 0 AND received - last < ?",
        (CLOCK_SECONDS,),
    ).fetchone()
    return None if first is None else float(first)


def runs(
    reader: Connection, identifiers: Sequence[str] = (), names: Sequence[str] = (), limit: int = 1 << 40
) -> list[RunRow]:
    """Return runs that have sent samples, the latest first."""
    among = [
        f"{column} IN ({', '.join('?' * len(values))})"
        for column, values in (("identifier", identifiers), ("run", names))
        if values
    ]
    return _run_rows(
        reader.execute(
            f"SELECT {_RUN} FROM runs JOIN clients ON clients.id = client"
            f" WHERE {' AND '.join(['samples > 0', *among])} ORDER BY last DESC, runs.id DESC LIMIT ?",
            (*identifiers, *names, limit),
        ).fetchall()
    )


def runs_by_id(reader: Connection, numbers: Iterable[int]) -> list[RunRow]:
    """Return runs by their number."""
    wanted = list(numbers)
    found: list[RunRow] = []
    for at in range(0, len(wanted), 500):
        some = wanted[at : at + 500]
        found += _run_rows(
            reader.execute(
                f"SELECT {_RUN} FROM runs JOIN clients ON clients.id = client"
                f" WHERE runs.id IN ({', '.join('?' * len(some))})",
                some,
            ).fetchall()
        )
    return found


def clients(reader: Connection, limit: int) -> list[dict[str, Any]]:
    """Return who sent samples, the latest to be heard of first."""
    found = reader.execute(
        "SELECT identifier, counted, total, begun, latest, newest.about, heard FROM clients"
        " JOIN (SELECT client, count(*) AS counted, sum(samples) AS total, min(first) AS begun, max(last) AS latest,"
        "       max(received) AS heard FROM runs WHERE samples > 0 GROUP BY client) AS sums ON sums.client = clients.id"
        " JOIN runs AS newest ON newest.id = newest_run ORDER BY heard DESC, identifier LIMIT ?",
        (limit,),
    ).fetchall()
    names = ("identifier", "runs", "samples", "first", "last", "about", "received")
    return [
        dict(zip(names, (who, count, int(total), first, last, json.loads(about), heard), strict=True))
        for who, count, total, first, last, about, heard in found
    ]


class Columns:
    """The lists of metrics, by number; read once each."""

    def __init__(self, reader: Connection) -> None:
        self._reader = reader
        self._known: dict[int, tuple[str, ...]] = {}

    def __getitem__(self, columns_id: int) -> tuple[str, ...]:
        if columns_id not in self._known:
            (names,) = self._reader.execute("SELECT names FROM columns WHERE id = ?", (columns_id,)).fetchone()
            self._known[columns_id] = tuple(json.loads(names))
        return self._known[columns_id]


def newest_samples(
    reader: Connection, run_ids: Sequence[int] | None, since: float, until: float, limit: int
) -> list[tuple[float, int, int, int, tuple[Any, ...]]]:
    """Return (time, run, sequence, columns, values) of the newest samples in a span of time, the newest first."""
    if run_ids is not None and not run_ids:
        return []
    found: list[tuple[float, int, int, int, tuple[Any, ...]]] = []
    for run_id, columns_id, last_time, data in _latest_chunks(reader, run_ids, since, until):
        if len(found) >= limit and last_time < found[0][0]:  # no later chunk has anything newer than the oldest found
            break
        for row in unpack(data).rows():
            if since <= row.time <= until:
                entry = (row.time, run_id, row.sequence, columns_id, row.values)
                if len(found) < limit:
                    heapq.heappush(found, entry)
                elif entry[:3] > found[0][:3]:
                    heapq.heapreplace(found, entry)
    return sorted(found, key=lambda entry: entry[:3], reverse=True)


def _latest_chunks(
    reader: Connection, run_ids: Sequence[int] | None, since: float, until: float
) -> Iterator[tuple[int, int, float, bytes]]:
    among = "" if run_ids is None else f"AND run_id IN ({', '.join('?' * len(run_ids))})"
    at, number = LATEST, 0
    while True:
        page = reader.execute(
            f"SELECT run_id, columns_id, last_time, data, id FROM chunks WHERE last_time >= ? AND first_time <= ?"
            f" {among} AND (last_time < ? OR (last_time = ? AND id < ?)) ORDER BY last_time DESC, id DESC LIMIT ?",
            (since, until, *(run_ids or ()), at, at, number, CHUNKS_AT_ONCE),
        ).fetchall()
        for *chunk, number in page:  # noqa: B007 - the next page begins behind the last one
            yield tuple(chunk)
        if len(page) < CHUNKS_AT_ONCE:
            return
        at = page[-1][2]


def chunks_of(reader: Connection, run_id: int, since: float, until: float) -> Iterator[tuple[int, Chunk]]:
    """Yield (columns, chunk) of a run that reach into a span of time, in the order of their sequence."""
    sequence = -1
    while True:
        page = reader.execute(
            "SELECT columns_id, data, last_sequence FROM chunks WHERE run_id = ? AND last_sequence > ?"
            " AND last_time >= ? AND first_time <= ? ORDER BY last_sequence LIMIT ?",
            (run_id, sequence, since, until, CHUNKS_AT_ONCE),
        ).fetchall()
        for columns_id, data, sequence in page:  # noqa: B007 - the next page begins behind the last one
            yield columns_id, unpack(data)
        if len(page) < CHUNKS_AT_ONCE:
            return


def count_raw(reader: Connection, run_id: int, since: float, until: float) -> int:
    """Return about how many raw samples a span of time has."""
    (count,) = reader.execute(
        "SELECT sum(last_sequence - first_sequence + 1) FROM chunks"
        " WHERE run_id = ? AND last_time >= ? AND first_time <= ?",
        (run_id, since, until),
    ).fetchone()
    return int(count or 0)


def buckets_of(reader: Connection, run_id: int, level: int, first: int, last: int) -> Iterator[tuple[int, int, Rollup]]:
    """Yield (bucket, columns, rollup) of a run; one bucket may come several times, as what is to be added up."""
    for bucket, columns_id, data in reader.execute(
        "SELECT bucket, columns_id, data FROM rollups WHERE run_id = ? AND level = ? AND bucket BETWEEN ? AND ?",
        (run_id, level, first, last),
    ):
        yield bucket, columns_id, rollups.unpack(data)
    for _, _, columns_id, data in tail(reader, mark(reader, "rolled"), run_id):
        for bucket, rollup in rollups.of_chunk(unpack(data), level).items():
            if first <= bucket <= last:
                yield bucket, columns_id, rollup


def packed_buckets(
    reader: Connection, run_id: int, level: int, first: int, last: int
) -> Iterator[tuple[int, tuple[int, ...], tuple[bytes, ...]]]:
    """Yield (columns, buckets, packed rollups) of a run, once for each list of metrics, of what is rolled up.

    For whoever reads so many that a Python object for each is too much.
    """
    found = reader.execute(
        "SELECT columns_id, bucket, data FROM rollups WHERE run_id = ? AND level = ? AND bucket BETWEEN ? AND ?",
        (run_id, level, first, last),
    ).fetchall()
    several = {row[0] for row in found}
    for columns_id in several:
        _, buckets, packed = zip(
            *(found if len(several) == 1 else [row for row in found if row[0] == columns_id]), strict=True
        )
        yield columns_id, buckets, packed


def metrics_of(reader: Connection, run_ids: Sequence[int]) -> list[str]:
    """Return the metrics that runs have, in the order in which they were first sent."""
    numbers: dict[int, None] = {}
    for run_id in run_ids:
        for (columns_id,) in reader.execute("SELECT DISTINCT columns_id FROM chunks WHERE run_id = ?", (run_id,)):
            numbers[columns_id] = None
    columns = Columns(reader)
    return list(dict.fromkeys(name for columns_id in sorted(numbers) for name in columns[columns_id]))
