"""The port to a database: what differs between SQLite and PostgreSQL. The SQL of this folder both understand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One connection inside a transaction; parameters are marked with ?."""

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Rows:
        """Run one statement."""
        ...


class Database(Protocol):
    """Where the tables are. Any thread may call writing() and reading() between open() and close()."""

    @property
    def place(self) -> str:
        """The file or the server, for people; without a password."""
        ...

    def open(self) -> None:
        """Connect, and bring the tables to this version.

        Raises:
            StoreUnavailable: It cannot be used.
        """
        ...

    def close(self) -> None:
        """Disconnect; does nothing when it is closed."""
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that excludes all other writers; committed, and durable, when the block ends without error.

        Raises:
            StoreFailed: Nothing was written.
        """
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent view; waits for no writer.

        Raises:
            StoreFailed: It cannot be read now.
        """
        ...

    def size_bytes(self) -> int:
        """Bytes on disk, 0 where that cannot be told now."""
        ...

    def check(self) -> None:
        """Raise StoreFailed where the database has become unusable."""
        ...

    def give_back(self) -> None:
        """Return to the disk what deleted rows took, as far as that goes without stopping writers for long."""
        ...
