"""The embedded database: one SQLite file in WAL mode, one writer at a time, readers that never wait."""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heflwr.collector.store.database import Connection
from heflwr.collector.store.errors import StoreFailed, StoreUnavailable
from heflwr.collector.store.migration import migrate_first_schema, migrate_second_schema
from heflwr.collector.store.schema import SCHEMA_VERSION, tables

APPLICATION_ID = 0x4846_4C57
"""Marks the file as ours ("HFLW"), so that nobody's other database gets our tables."""

BUSY_SECONDS = 5.0
"""Longest to wait for another process that writes to the same file."""

READERS_KEPT = 8
"""Connections that wait for the next reader; opening one costs a tenth of a millisecond."""

PAGES_AT_ONCE = 2_000
"""Free pages given back to the disk in one step, 8 MiB: a few hundredths of a second."""


class SqliteDatabase:
    """A SQLite file. synchronous=FULL: what is acknowledged outlives a power cut, since the sender then forgets it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember where the database is; it is created by open() where it does not exist."""
        self.path = Path(path).absolute()
        self._lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which one open() found or made
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(READERS_KEPT)

    @property
    def place(self) -> str:
        return str(self.path)

    def open(self) -> None:
        try:
            writer = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StoreUnavailable(
                f"cannot open {self.path}: {error}; choose another file, or create its directory"
            ) from error
        try:
            writer.execute("PRAGMA synchronous = FULL")
            self._prepare(writer)
            self._file = self._identity()
        except sqlite3.Error as error:
            writer.close()
            raise StoreUnavailable(f"cannot use {self.path}: {error}; choose another file") from error
        except BaseException:
            writer.close()
            raise
        self._writer = writer

    def _identity(self) -> tuple[int, int]:
        """Return what tells this file from any other. Raises StoreFailed where there is none."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise StoreFailed(f"{self.path} is gone: {error.strerror}") from error
        return found.st_dev, found.st_ino

    def _check_file(self) -> None:
        """Raise StoreFailed where the file was deleted or replaced: SQLite would go on writing to what nobody finds."""
        if self._file not in (None, self._identity()):
            raise StoreFailed(f"{self.path} was replaced; start the collector again to use the new file")

    def _prepare(self, writer: sqlite3.Connection) -> None:
        if not writer.execute("PRAGMA page_count").fetchone()[0]:
            writer.execute("PRAGMA auto_vacuum = INCREMENTAL")  # a new file's pages can be given back later
        writer.execute("BEGIN IMMEDIATE")
        try:
            (owner,) = writer.execute("PRAGMA application_id").fetchone()
            (version,) = writer.execute("PRAGMA user_version").fetchone()
            (count,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if owner != APPLICATION_ID and (count or version):
                raise StoreUnavailable(f"{self.path} is a database of another program; choose another file")
            if version > SCHEMA_VERSION:
                raise StoreUnavailable(
                    f"{self.path} was made by a newer heflwr (schema {version}, this one knows {SCHEMA_VERSION}); "
                    "update heflwr or choose another file"
                )
            if version == 0:
                for statement in tables("sqlite"):
                    writer.execute(statement)
                writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            elif version == 1:
                migrate_first_schema(writer)
            elif version == 2:
                migrate_second_schema(writer, "sqlite", time.time())
            writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            raise
        writer.execute("PRAGMA journal_mode = WAL")  # readers never wait for the writer; not inside a transaction

    def close(self) -> None:
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        while True:
            try:
                self._readers.get_nowait().close()
            except queue.Empty:
                return

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._lock:
            if self._writer is None:
                raise StoreFailed("the store is closed")
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    self._check_file()
                    self._writer.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself after some errors
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StoreFailed(str(error)) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        try:
            reader = self._reader()
            try:
                reader.execute("BEGIN")
                yield reader
                reader.execute("ROLLBACK")
            except BaseException:
                reader.close()
                raise
        except sqlite3.Error as error:
            raise StoreFailed(str(error)) from error
        try:
            if self._writer is None:
                raise queue.Full
            self._readers.put_nowait(reader)
        except queue.Full:
            reader.close()

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return sqlite3.connect(
                f"{self.path.as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )

    def size_bytes(self) -> int:
        size = 0
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                size += os.stat(f"{self.path}{suffix}").st_size
        return size

    def check(self) -> None:
        self._check_file()
        with self.reading() as reader:
            reader.execute("SELECT count(*) FROM marks").fetchone()

    def give_back(self) -> None:
        with self._lock:
            if self._writer is None:
                raise StoreFailed("the store is closed")
            try:
                while True:
                    (before,) = self._writer.execute("PRAGMA freelist_count").fetchone()
                    self._writer.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
                    (after,) = self._writer.execute("PRAGMA freelist_count").fetchone()
                    if not after or after == before:  # a file of the first schema keeps its pages for its own rows
                        break
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as error:
                raise StoreFailed(str(error)) from error
