"""Where rows wait until their server has them: a port, and its adapter in memory (the one on disk is `_spool`)."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

OUTBOX_ROWS = 10_000
"""Rows kept in memory, about 2 MB: fourteen hours of samples at the default interval."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one run, as they go into one request.

    Attributes:
        path: Endpoint, "/simple_log" say.
        head: What the rows have in common, a JSON object.
        rows: Each a line of text, as their sink made it.
        end: Where the outbox goes on behind the last of them; its own business.
    """

    path: str
    head: str
    rows: tuple[str, ...]
    end: tuple[int, int]


class Outbox(Protocol):
    """Rows in the order in which they came. One thread adds, another takes."""

    @property
    def waiting(self) -> int:
        """Rows that nobody has taken yet."""

    @property
    def dropped(self) -> int:
        """Rows that made room for newer ones, or were lost."""

    def peek(self, limit: int) -> Batch | None:
        """Return the oldest rows, `limit` at most, and keep them; None where there are none.

        Raises:
            OSError: They are there, and cannot be read now; a later call tries again.
        """

    def forget(self, batch: Batch) -> None:
        """Let go of a batch's rows. Does nothing once closed."""

    def close(self) -> None:
        """Give handles back; may be called twice."""


class MemoryOutbox:
    """A bounded queue: when it is full the oldest rows go, and are counted. What is left at close() is lost."""

    def __init__(self, path: str, head: str) -> None:
        self._path = path
        self._head = head
        self._rows: deque[str] = deque()
        self._taken = 0  # number of the oldest row: forgetting works whatever was dropped meanwhile
        self._lock = threading.Lock()
        self.dropped = 0

    @property
    def waiting(self) -> int:
        return len(self._rows)

    def append(self, row: str) -> None:
        """Take one row."""
        with self._lock:
            if len(self._rows) == OUTBOX_ROWS:
                self._rows.popleft()
                self._taken += 1
                self.dropped += 1
            self._rows.append(row)

    def peek(self, limit: int) -> Batch | None:
        with self._lock:
            rows = tuple(islice(self._rows, limit))
            return Batch(self._path, self._head, rows, (0, self._taken + len(rows))) if rows else None

    def forget(self, batch: Batch) -> None:
        with self._lock:
            while self._rows and self._taken < batch.end[1]:
                self._rows.popleft()
                self._taken += 1

    def close(self) -> None:
        with self._lock:
            self.dropped += len(self._rows)
            self._taken += len(self._rows)
            self._rows.clear()
