"""A PostgreSQL server, for those who outgrow one file. Needs the extra `heflwr[postgres]`."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from heflwr.collector.store.database import Connection, Rows
from heflwr.collector.store.errors import StoreFailed, StoreUnavailable
from heflwr.collector.store.migration import migrate_second_schema
from heflwr.collector.store.schema import SCHEMA_VERSION, tables

CONNECT_SECONDS = 10

READERS_KEPT = 8

_LOCK = 0x4846_4C57
"""Of our advisory lock ("HFLW"): one transaction writes at a time, whoever it is, as in SQLite."""

_NAMESPACE = "heflwr"
"""Schema of our tables, so that a database may have others."""


class _Marked:
    """A connection that takes ? for a parameter, and gives bytes."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Rows:
        return self._connection.execute(statement.replace("%", "%%").replace("?", "%s"), parameters)


class PostgresDatabase:
    """A database on a PostgreSQL server; `address` is postgresql://user:password@host:port/name."""

    def __init__(self, address: str) -> None:
        """Remember where the database is; its tables are created by open() in a schema of ours."""
        self._address = address
        self._lock = threading.Lock()
        self._writer: psycopg.Connection[Any] | None = None
        self._is_open = False
        self._readers: queue.LifoQueue[psycopg.Connection[Any]] = queue.LifoQueue(READERS_KEPT)

    @property
    def place(self) -> str:
        try:
            parts = conninfo_to_dict(self._address)
        except psycopg.ProgrammingError:
            return "postgresql"
        host, port = parts.get("host") or "localhost", parts.get("port") or 5432
        return f"postgresql://{host}:{port}/{parts.get('dbname') or ''}"

    def open(self) -> None:
        try:
            self._writer = self._connect()
        except psycopg.Error as error:
            raise StoreUnavailable(f"cannot open {self.place}: {error}; is the server up, the name right?") from error
        try:
            self._prepare(self._writer)
        except psycopg.Error as error:
            self._drop_writer()
            raise StoreUnavailable(f"cannot use {self.place}: {error}; let its user create a schema") from error
        except BaseException:
            self._drop_writer()
            raise
        self._is_open = True

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            make_conninfo(self._address, connect_timeout=CONNECT_SECONDS, application_name="heflwr collector"),
            autocommit=True,
        )
        connection.execute(f"SET search_path TO {_NAMESPACE}")
        return connection

    def _prepare(self, writer: psycopg.Connection[Any]) -> None:
        with writer.transaction():
            writer.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            writer.execute(f"CREATE SCHEMA IF NOT EXISTS {_NAMESPACE}")
            writer.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
            found = writer.execute("SELECT max(version) FROM schema_version").fetchone()
            version = found[0] if found else None
            if version is not None and version > SCHEMA_VERSION:
                raise StoreUnavailable(
                    f"{self.place} was made by a newer heflwr (schema {version}, this one knows {SCHEMA_VERSION}); "
                    "update heflwr or choose another database"
                )
            if version is None:
                for statement in tables("postgres"):
                    writer.execute(statement)
                writer.execute("INSERT INTO schema_version VALUES (%s)", (SCHEMA_VERSION,))
            elif version == 2:  # the first schema was never on a server
                migrate_second_schema(_Marked(writer), "postgres", time.time())
                writer.execute("UPDATE schema_version SET version = %s", (SCHEMA_VERSION,))

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            self._drop_writer()
        while True:
            try:
                self._readers.get_nowait().close()
            except queue.Empty:
                return

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._lock:
            if not self._is_open:
                raise StoreFailed("the store is closed")
            try:
                if self._writer is None:  # the server was away
                    self._writer = self._connect()
                with self._writer.transaction():
                    self._writer.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                    yield _Marked(self._writer)
            except psycopg.Error as error:
                if self._writer is not None and self._writer.closed:
                    self._drop_writer()
                raise StoreFailed(str(error)) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        try:
            reader = self._reader()
            try:
                with reader.transaction():
                    reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    yield _Marked(reader)
            except BaseException:
                reader.close()
                raise
        except psycopg.Error as error:
            raise StoreFailed(str(error)) from error
        try:
            if not self._is_open:
                raise queue.Full
            self._readers.put_nowait(reader)
        except queue.Full:
            reader.close()

    def _reader(self) -> psycopg.Connection[Any]:
        try:
            return self._readers.get_nowait()
        except queue.Empty:
            return self._connect()

    def size_bytes(self) -> int:
        try:
            with self.reading() as reader:
                (size,) = reader.execute(
                    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
                    " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relkind = 'r'",
                    (_NAMESPACE,),
                ).fetchone()
        except StoreFailed:
            return 0
        return int(size)

    def check(self) -> None:
        with self.reading() as reader:
            reader.execute("SELECT count(*) FROM marks").fetchone()

    def give_back(self) -> None:
        """Leave it to autovacuum, which is at work already."""
