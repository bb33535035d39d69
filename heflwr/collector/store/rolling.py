"""Rollups follow the chunks at a short distance: `marks` says up to which chunk they have come, readers add the rest.

Whoever rolls reads outside the transaction and writes inside one, where it checks that nobody was there before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from heflwr.collector.store import rollups
from heflwr.collector.store.chunks import unpack
from heflwr.collector.store.database import Connection
from heflwr.collector.store.rollups import LEVELS, Rollup

CHUNKS_AT_ONCE = 5_000
"""Chunks that are read for one transaction: some megabytes."""

RUNS_AT_ONCE = 1_000
"""Runs that are written to in one transaction: writers wait for a tenth of a second."""

Buckets = dict[tuple[int, int], dict[int, Rollup]]
"""Run and columns, then buckets of the finest level."""


def mark(connection: Connection, name: str) -> int:
    """Return the last chunk of which something has been done."""
    (value,) = connection.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return int(value)


def tail(reader: Connection, rolled: int, run_id: int | None = None, limit: int = 1 << 40) -> list[Any]:
    """Return (id, run, columns, data) of chunks that are in no rollup yet, in order."""
    of_run, parameters = ("", [rolled]) if run_id is None else ("AND run_id = ?", [rolled, run_id])
    return reader.execute(
        f"SELECT id, run_id, columns_id, data FROM chunks WHERE id > ? {of_run} ORDER BY id LIMIT ?",
        (*parameters, limit),
    ).fetchall()


def portion(chunks: list[Any]) -> tuple[list[Any], bool]:
    """Return those of the chunks that go into one transaction, and whether there may be more."""
    runs: set[int] = set()
    for at, (_, run_id, *_) in enumerate(chunks):
        runs.add(run_id)
        if len(runs) > RUNS_AT_ONCE:
            return chunks[:at], True
    return chunks, len(chunks) == CHUNKS_AT_ONCE


class Tail:
    """What is in no rollup yet, added up; each chunk is unpacked once however often it is asked for."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._rolled = -1
        self._last = -1
        self._found: Buckets = {}

    def buckets(self, reader: Connection) -> Buckets:
        """Return the buckets of all chunks behind the mark; not to be changed, good until the next call."""
        rolled = mark(reader, "rolled")
        if rolled != self._rolled:
            self._rolled, self._last, self._found = rolled, rolled, {}
        chunks = tail(reader, self._last)
        if chunks:
            self._last = chunks[-1][0]
            summed(chunks, self._level, self._found)
        return self._found


class Tails:
    """A Tail a level, for many readers. Any thread may call at()."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tails: dict[int, Tail] = {}

    @contextmanager
    def at(self, reader: Connection, level: int) -> Iterator[Buckets]:
        """The buckets behind the mark, not to be changed, while the block lasts."""
        with self._lock:
            yield self._tails.setdefault(level, Tail(level)).buckets(reader)


def summed(
    chunks: Iterable[tuple[int, int, int, bytes]], level: int = LEVELS[0], found: Buckets | None = None
) -> Buckets:
    """Return the buckets of chunks, added to those found before."""
    found = {} if found is None else found
    for _, run_id, columns_id, data in chunks:
        of_run = found.setdefault((run_id, columns_id), {})
        for bucket, rollup in rollups.of_chunk(unpack(data), level).items():
            if bucket in of_run:
                of_run[bucket].merge(rollup)
            else:
                of_run[bucket] = rollup
    return found


def write(writer: Connection, found: Buckets, before: int, after: int) -> bool:
    """Add the buckets to the tables, and move the mark; False where another has done it."""
    if mark(writer, "rolled") != before:
        return False
    for (run_id, columns_id), buckets in found.items():
        newest = writer.execute(
            "SELECT max(bucket) FROM rollups WHERE run_id = ? AND level = ?", (run_id, LEVELS[0])
        ).fetchone()[0]
        if newest is not None and min(buckets) < newest:  # who remembers older buckets should read them again
            writer.execute("UPDATE runs SET late = late + 1 WHERE id = ?", (run_id,))
        finer, seconds = buckets, LEVELS[0]
        for level in LEVELS:
            finer, seconds = rollups.coarser(finer, level // seconds), level
            _add(writer, run_id, columns_id, level, finer)
    writer.execute("UPDATE marks SET value = ? WHERE name = 'rolled'", (after,))
    return True


def _add(writer: Connection, run_id: int, columns_id: int, level: int, buckets: dict[int, Rollup]) -> None:
    for bucket, rollup in buckets.items():
        key = (run_id, level, bucket, columns_id)
        found = writer.execute(
            "SELECT data FROM rollups WHERE run_id = ? AND level = ? AND bucket = ? AND columns_id = ?", key
        ).fetchone()
        if found is None:
            writer.execute("INSERT INTO rollups VALUES (?, ?, ?, ?, ?)", (*key, rollup.pack()))
            continue
        whole = rollups.unpack(found[0])
        whole.merge(rollup)
        writer.execute(
            "UPDATE rollups SET data = ? WHERE run_id = ? AND level = ? AND bucket = ? AND columns_id = ?",
            (whole.pack(), *key),
        )
