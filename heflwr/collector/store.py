"""Where the collector keeps what it was sent: one SQLite file, one writer, committed before it is acknowledged."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heflwr.collector.records import LineBatch, SampleBatch

SCHEMA_VERSION = 1
"""Raise it with every change of the tables, and migrate from the one before."""

APPLICATION_ID = 0x4846_4C57
"""Marks the file as ours ("HFLW"), so that nobody's other database gets our tables."""

BUSY_SECONDS = 5.0
"""Longest to wait for another process that writes to the same file."""

ANCESTOR_RUN = "ancestor"
"""The run of samples that came as words: heflwr 0.1 had neither runs nor sequence numbers."""

_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    identifier TEXT NOT NULL,
    run TEXT NOT NULL,
    about TEXT NOT NULL DEFAULT '{}',
    samples INTEGER NOT NULL DEFAULT 0,
    first REAL NOT NULL,
    last REAL NOT NULL,
    received REAL NOT NULL,
    UNIQUE (identifier, run)
);
CREATE TABLE columns (
    id INTEGER PRIMARY KEY,
    names TEXT NOT NULL UNIQUE
);
CREATE TABLE samples (
    run_id INTEGER NOT NULL REFERENCES runs,
    sequence INTEGER NOT NULL,
    time REAL NOT NULL,
    columns_id INTEGER NOT NULL REFERENCES columns,
    row_values TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence)
) WITHOUT ROWID;
CREATE INDEX samples_by_time ON samples (time);
CREATE INDEX samples_by_run_and_time ON samples (run_id, time);
CREATE TABLE lines (
    id INTEGER PRIMARY KEY,
    identifier TEXT NOT NULL,
    run TEXT,
    sequence INTEGER,
    time REAL NOT NULL,
    message TEXT NOT NULL,
    fields TEXT NOT NULL,
    UNIQUE (identifier, run, sequence)
);
CREATE INDEX lines_by_time ON lines (time);
"""


_OF_RUNS = """AND run_id IN (
    SELECT id FROM runs WHERE (:identifier IS NULL OR identifier = :identifier) AND (:run IS NULL OR run = :run)
)"""


class StoreUnavailable(RuntimeError):
    """The database cannot be had; the text names it, why not, and the way out."""


class Store:
    """A SQLite file in WAL mode. Any thread may call any method between open() and close()."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember where the database is; it is created by open() where it does not exist."""
        self.path = Path(path).absolute()
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or create the database.

        Raises:
            StoreUnavailable: It cannot be written, is no database, not ours, or made by a newer version.
        """
        try:
            writer = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"cannot open {self.path}: {error}; choose another file, or create its directory"
            ) from error
        try:
            writer.execute("PRAGMA synchronous = FULL")  # acknowledged means durable: the sender then forgets
            self._prepare(writer)
        except sqlite3.Error as error:
            writer.close()
            raise StoreUnavailable(f"cannot use {self.path}: {error}; choose another file") from error
        except StoreUnavailable:
            writer.close()
            raise
        self._writer = writer

    def _prepare(self, writer: sqlite3.Connection) -> None:
        writer.execute("BEGIN IMMEDIATE")
        try:
            (owner,) = writer.execute("PRAGMA application_id").fetchone()
            (version,) = writer.execute("PRAGMA user_version").fetchone()
            (tables,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if owner != APPLICATION_ID and (tables or version):
                raise StoreUnavailable(f"{self.path} is a database of another program; choose another file")
            if version > SCHEMA_VERSION:
                raise StoreUnavailable(
                    f"{self.path} was made by a newer heflwr (schema {version}, this one knows {SCHEMA_VERSION}); "
                    "update heflwr or choose another file"
                )
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    writer.execute(statement)
                writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            raise
        writer.execute("PRAGMA journal_mode = WAL")  # readers never wait for the writer; not inside a transaction

    def close(self) -> None:
        """Close the database; does nothing when it is closed."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def __enter__(self) -> Store:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add_samples(self, batch: SampleBatch) -> int:
        """Store samples that are not there yet, and return how many those were; durable on return.

        Raises:
            sqlite3.Error: Nothing was stored (disk full, closed); the sender should come again.
        """
        with self._transaction() as writer:
            times = [row.time for row in batch.rows]
            run_id = _run_id(writer, batch.identifier, batch.run, min(times), max(times), batch.about)
            columns_id = _columns_id(writer, batch.metrics)
            rows = [(run_id, row.sequence, row.time, columns_id, json.dumps(row.values)) for row in batch.rows]
            return _add_rows(writer, run_id, rows)

    def add_lines(self, batch: LineBatch) -> int:
        """Store log lines that are not there yet, and return how many those were; durable on return.

        Raises:
            sqlite3.Error: Nothing was stored (disk full, closed); the sender should come again.
        """
        received = time.time()
        accepted = 0
        with self._transaction() as writer:
            for line in batch.lines:
                at = received if line.time is None else line.time
                cursor = writer.execute(
                    "INSERT OR IGNORE INTO lines (identifier, run, sequence, time, message, fields)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (batch.identifier, batch.run, line.sequence, at, line.message, json.dumps(line.fields)),
                )
                accepted += cursor.rowcount
                if line.values and cursor.rowcount:
                    run_id = _run_id(writer, batch.identifier, ANCESTOR_RUN, at, at, {})
                    columns_id = _columns_id(writer, tuple(line.values))
                    values = json.dumps(list(line.values.values()))
                    _add_rows(writer, run_id, [(run_id, cursor.lastrowid, at, columns_id, values)])
        return accepted

    def samples(
        self,
        *,
        identifier: str | None,
        run: str | None,
        since: float,
        until: float,
        metrics: Sequence[str],
        limit: int,
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the newest samples that match, oldest first, and whether there are more than the limit.

        Args:
            identifier: Only this client's; None for all.
            run: Only this run's; None for all.
            since: Unix seconds, inclusive.
            until: Unix seconds, inclusive.
            metrics: Only these values; all where empty.
            limit: Most samples to return.
        """
        found = self._read(
            # the newest are picked in an index alone; only then are their values read
            f"""
            SELECT runs.identifier, runs.run, samples.sequence, samples.time, names, row_values
            FROM (
                SELECT run_id, sequence FROM samples
                WHERE time BETWEEN :since AND :until {_OF_RUNS if identifier is not None or run is not None else ""}
                ORDER BY time DESC, run_id DESC, sequence DESC LIMIT :limit
            ) AS newest
            JOIN samples USING (run_id, sequence) JOIN runs ON runs.id = run_id JOIN columns ON columns.id = columns_id
            ORDER BY samples.time DESC, run_id DESC, samples.sequence DESC
            """,
            {"identifier": identifier, "run": run, "since": since, "until": until, "limit": limit + 1},
        )
        wanted = set(metrics)
        samples = [
            {
                "identifier": who,
                "run": which,
                "sequence": sequence,
                "time": at,
                "values": {
                    name: value
                    for name, value in zip(json.loads(names), json.loads(values), strict=True)
                    if not wanted or name in wanted
                },
            }
            for who, which, sequence, at, names, values in found[:limit]
        ]
        return samples[::-1], len(found) > limit

    def lines(
        self, *, identifier: str | None, since: float, until: float, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the newest log lines that match, oldest first, and whether there are more; arguments as samples()."""
        found = self._read(
            "SELECT identifier, time, message, fields FROM lines WHERE time BETWEEN :since AND :until"
            " AND (:identifier IS NULL OR identifier = :identifier) ORDER BY time DESC, id DESC LIMIT :limit",
            {"identifier": identifier, "since": since, "until": until, "limit": limit + 1},
        )
        lines = [
            {"identifier": who, "time": at, "message": message, "fields": json.loads(fields)}
            for who, at, message, fields in found[:limit]
        ]
        return lines[::-1], len(found) > limit

    def clients(self, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Return who sent samples, the latest to be heard of first, and whether there are more than the limit."""
        found = self._read(
            # SQLite takes the bare column `about` from the row that has the maximum: the latest run
            "SELECT identifier, count(*), sum(samples), min(first), max(last), about, max(received) AS heard"
            " FROM runs GROUP BY identifier ORDER BY heard DESC LIMIT :limit",
            {"limit": limit + 1},
        )
        names = ("identifier", "runs", "samples", "first", "last", "about", "received")
        clients = [dict(zip(names, row, strict=True)) for row in found[:limit]]
        for client in clients:
            client["about"] = json.loads(client["about"])
        return clients, len(found) > limit

    def size_bytes(self) -> int:
        """Return the bytes on disk, the write-ahead log included."""
        size = 0
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                size += os.stat(f"{self.path}{suffix}").st_size
        return size

    def check(self) -> None:
        """Read one value. Raises sqlite3.Error where the database has become unusable."""
        self._read("SELECT count(*) FROM columns", {})

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._writer is None:
                raise sqlite3.ProgrammingError("the store is closed")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself after some errors
                    self._writer.execute("ROLLBACK")
                raise

    def _read(self, select: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a query on a connection of its own: readers never wait for the writer, nor for each other."""
        with contextlib.closing(
            sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        ) as reader:
            return reader.execute(select, parameters).fetchall()


def _run_id(
    writer: sqlite3.Connection, identifier: str, run: str, first: float, last: float, about: dict[str, Any]
) -> int:
    (run_id,) = writer.execute(
        "INSERT INTO runs (identifier, run, first, last, received) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (identifier, run) DO UPDATE SET first = min(first, excluded.first),"
        " last = max(last, excluded.last), received = excluded.received RETURNING id",
        (identifier, run, first, last, time.time()),
    ).fetchone()
    if about:
        writer.execute("UPDATE runs SET about = ? WHERE id = ?", (json.dumps(about), run_id))
    return int(run_id)


def _columns_id(writer: sqlite3.Connection, metrics: tuple[str, ...]) -> int:
    names = json.dumps(metrics)
    writer.execute("INSERT OR IGNORE INTO columns (names) VALUES (?)", (names,))
    return int(writer.execute("SELECT id FROM columns WHERE names = ?", (names,)).fetchone()[0])


def _add_rows(writer: sqlite3.Connection, run_id: int, rows: list[tuple[Any, ...]]) -> int:
    accepted = writer.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?)", rows).rowcount
    writer.execute("UPDATE runs SET samples = samples + ? WHERE id = ?", (accepted, run_id))
    return accepted
