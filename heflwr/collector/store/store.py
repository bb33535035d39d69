"""Where the collector keeps what it was sent: one writer, committed before it is acknowledged, and readers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from heflwr.collector.records import FunctionBatch, LineBatch, Refusal, SampleBatch
from heflwr.collector.store import functions, lines, reading, tokens, windows, writing
from heflwr.collector.store.database import Connection, Database
from heflwr.collector.store.errors import StoreFailed, StoreUnavailable
from heflwr.collector.store.group import GroupWriter
from heflwr.collector.store.keeper import Keeper
from heflwr.collector.store.sqlite import SqliteDatabase

DAY_SECONDS = 86_400

CLIENTS_MAX = 10_000
"""Most identifiers unless the operator says otherwise; a sender that makes them up stops here."""

RAW_DAYS = 7.0
MINUTE_DAYS = 30.0
RUN_DAYS = 365.0
"""How long raw samples, one-minute buckets, and runs that are not heard of stay unless the operator says otherwise.
Coarser buckets stay as long as their run: a client's year takes 10 MB."""


class Store:
    """The collector's memory. Any thread may call any method between open() and close()."""

    def __init__(
        self,
        database: str | os.PathLike[str] | Database,
        *,
        clients_max: int = CLIENTS_MAX,
        raw_days: float = RAW_DAYS,
        minute_days: float = MINUTE_DAYS,
        run_days: float = RUN_DAYS,
    ) -> None:
        """Remember where the data are.

        Args:
            database: Path of a SQLite file, created where it does not exist; or `postgresql://...`; or a database.
            clients_max: Most identifiers that are taken.
            raw_days: Days that raw samples and log lines stay.
            minute_days: Days that one-minute buckets, windows and points of functions stay.
            run_days: Days that a run stays after it was last heard of, with all that is of it.
        """
        self.database = database_at(database) if isinstance(database, str | os.PathLike) else database
        self._clients_max = clients_max
        self.writer = GroupWriter(self.database)
        self._keeper = Keeper(
            self.database,
            self.writer,
            raw_seconds=raw_days * DAY_SECONDS,
            minute_seconds=minute_days * DAY_SECONDS,
            run_seconds=run_days * DAY_SECONDS,
        )
        self.on_change: Callable[[str, bool], None] = lambda identifier, is_function: None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.database.place

    def open(self) -> None:
        """Open or create the database.

        Raises:
            StoreUnavailable: It cannot be written, is no database, not ours, or made by a newer version.
        """
        self.database.open()
        self.writer.start()
        self._keeper.start()

    def close(self) -> None:
        """Finish what is being written, and close the database; does nothing when it is closed."""
        self._keeper.stop()
        self.writer.stop()
        self.database.close()

    def __enter__(self) -> Store:
        self.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add_samples(self, *batches: SampleBatch) -> int:
        """Store samples and windows that are not there yet, and return how many samples those were; durable on return.

        Raises:
            StoreFailed: Nothing was stored (disk full, closed); the sender should come again.
            Refusal: One identifier, run or window too many; nothing was stored.
        """
        accepted = self.writer.write(self._samples(batches))
        self._tell(batches)
        return accepted

    def submit_samples(self, batch: SampleBatch, done: Callable[[int | StoreFailed | Refusal], None]) -> None:
        """Store samples as add_samples() does, and return at once.

        Args:
            batch: What to store.
            done: Called by the writer's thread with what add_samples() would return or raise; must be short.

        Raises:
            StoreFailed: The batch is not taken, and done() will not be called.
        """

        def stored(outcome: int | StoreFailed | Refusal) -> None:
            if isinstance(outcome, int):
                self._tell((batch,))
            done(outcome)

        self.writer.submit(self._samples((batch,)), stored, len(batch.rows))

    def add_lines(self, batch: LineBatch) -> int:
        """Store log lines that are not there yet, and return how many those were; raises as add_samples()."""
        return self.writer.write(self._lines(batch))

    def submit_lines(self, batch: LineBatch, done: Callable[[int | StoreFailed | Refusal], None]) -> None:
        """Store log lines as add_lines() does, and return at once; arguments and errors as submit_samples()."""
        self.writer.submit(self._lines(batch), done, len(batch.lines))

    def _lines(self, batch: LineBatch) -> Callable[[Connection], int]:
        received = time.time()
        return lambda writer: lines.add_lines(writer, batch, received, self._clients_max)

    def _samples(self, batches: Sequence[SampleBatch]) -> Callable[[Connection], int]:
        received = time.time()

        def call(writer: Connection) -> int:
            accepted = 0
            for batch in batches:
                if batch.rows:
                    accepted += writing.add_samples(writer, batch, received, self._clients_max)
                if batch.windows:
                    windows.add_windows(writer, batch.identifier, batch.run, batch.windows, received, self._clients_max)
            return accepted

        return call

    def _tell(self, batches: Sequence[SampleBatch]) -> None:
        for batch in batches:
            self.on_change(batch.identifier, False)

    def add_functions(self, batch: FunctionBatch) -> int:
        """Store points that are not there yet, and return how many those were; raises as add_samples()."""
        received = time.time()
        accepted = self.writer.write(lambda writer: functions.add_functions(writer, batch, received, self._clients_max))
        self.on_change(batch.identifier, True)
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
        wanted = set(metrics)
        with self.reading() as reader:
            among = None
            if identifier is not None or run is not None:
                among = {row.id: row for row in reading.runs(reader, _some(identifier), _some(run))}
            found = reading.newest_samples(reader, None if among is None else list(among), since, until, limit + 1)
            if among is None:
                among = {row.id: row for row in reading.runs_by_id(reader, {entry[1] for entry in found})}
            columns = reading.Columns(reader)
            samples = [
                {
                    "identifier": among[run_id].identifier,
                    "run": among[run_id].run,
                    "sequence": sequence,
                    "time": at,
                    "values": {
                        name: value
                        for name, value in zip(columns[columns_id], values, strict=True)
                        if not wanted or name in wanted
                    },
                }
                for at, run_id, sequence, columns_id, values in found[:limit]
            ]
        return samples[::-1], len(found) > limit

    def lines(
        self, *, identifier: str | None, since: float, until: float, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the newest log lines that match, oldest first, and whether there are more; arguments as samples()."""
        with self.reading() as reader:
            found = lines.lines(reader, identifier, since, until, limit + 1)
        return found[:limit][::-1], len(found) > limit

    def add_token(self, name: str, may: str) -> str:
        """Make a token that may "write" as the identifier `name`, or "read"; return it for the only time."""
        return self.writer.write(lambda writer: tokens.add_token(writer, name, may, time.time()))

    def revoke_token(self, name: str) -> int:
        """Forget the tokens of a name; return how many those were."""
        return self.writer.write(lambda writer: tokens.revoke_token(writer, name))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view for the functions of this folder; raises StoreFailed."""
        with self.database.reading() as reader:
            yield reader

    def size_bytes(self) -> int:
        """Return the bytes on disk."""
        return self.database.size_bytes()

    def check(self) -> None:
        """Read one value. Raises StoreFailed where the database has become unusable."""
        self.database.check()

    def roll(self) -> None:
        """Bring the rollups up to the last chunk."""
        self._keeper.roll()

    def compact(self) -> None:
        """Do now what is otherwise done from time to time: roll up, merge small chunks, forget what is too old."""
        self._keeper.compact()


def database_at(place: str | os.PathLike[str]) -> Database:
    """Return the database that a path or an address names.

    Raises:
        StoreUnavailable: What it needs is not installed.
    """
    if str(place).startswith(("postgresql://", "postgres://")):
        try:
            from heflwr.collector.store.postgres import PostgresDatabase
        except ModuleNotFoundError as error:
            if error.name != "psycopg":
                raise
            raise StoreUnavailable("PostgreSQL needs psycopg: pip install 'heflwr[postgres]'") from error
        return PostgresDatabase(str(place))
    return SqliteDatabase(place)


def _some(value: str | None) -> list[str]:
    return [] if value is None else [value]
