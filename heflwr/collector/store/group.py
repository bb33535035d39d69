"""One thread that writes: what several requests bring at the same time is committed, and synced to disk, once."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from heflwr.collector.records import Refusal
from heflwr.collector.store.database import Connection, Database
from heflwr.collector.store.errors import StoreFailed

GROUP_MAX = 256
"""Most calls in one transaction: none waits for more than that many others."""

SPACING_SECONDS = 0.02
"""Shortest time between two commits: each costs as much as five calls. An idle store commits at once."""

GATHERING_SECONDS = 0.1
"""The same while many bring little."""

MANY_CALLS = 4
"""So many in the transaction before are many senders; fewer may each wait for the outcome with more to write."""

LITTLE_ROWS = 100
"""More than what is little, from all that wait."""

ENOUGH_ROWS = 800
"""So much is worth a commit, however short ago the last one was."""

QUEUE_MAX = 1024
"""Calls that may wait; each holds its batch, of half a megabyte at most where no thread waits with it. Beyond, a sender
is told to come again."""

T = TypeVar("T")

_logger = logging.getLogger("heflwr.collector")


class GroupWriter:
    """Carries out calls on the database in order; each has its outcome once it is on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._rows = 0  # of those that wait
        self._last_calls = 0
        self._waiting: deque[tuple[Callable[[Connection], Any], Callable[[Any], None]]] = deque()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._committed_at = float("-inf")
        self.commits = 0
        self.commit_seconds = 0.0

    def start(self) -> None:
        """Begin."""
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="heflwr-collector-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end; does nothing when it is stopped."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._is_stopping = True
            self._changed.notify()
        if thread is not None:
            thread.join()

    def write(self, call: Callable[[Connection], T]) -> T:
        """Run the call in a transaction, and return what it returns when that is durable.

        Raises:
            StoreFailed: Nothing of this call was stored.
            Refusal: The call's own; nothing of it was stored.
        """
        future: Future[T] = Future()

        def done(outcome: T | StoreFailed | Refusal) -> None:
            if isinstance(outcome, StoreFailed | Refusal):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.submit(call, done, LITTLE_ROWS)  # whoever waits in a thread has more to do
        return future.result()

    def submit(
        self, call: Callable[[Connection], T], done: Callable[[T | StoreFailed | Refusal], None], rows: int = 0
    ) -> None:
        """Have the call run in a transaction, and return at once.

        Args:
            call: What to do; called by the writer's thread.
            done: Called by the writer's thread with what the call returned, when that is durable, or with what write()
                would raise. Everybody waits for it: it must be short.
            rows: How much it stores.

        Raises:
            StoreFailed: The call is not taken, and done() will not be called.
        """
        with self._changed:
            if self._thread is None:
                raise StoreFailed("the store is closed")
            if len(self._waiting) >= QUEUE_MAX:
                raise StoreFailed("too many requests wait for the disk")
            self._waiting.append((call, done))
            before, self._rows = self._rows, self._rows + rows
            if len(self._waiting) == 1 or any(before < limit <= self._rows for limit in (LITTLE_ROWS, ENOUGH_ROWS)):
                self._changed.notify()  # what the writer's thread may wait for

    def _run(self) -> None:
        while True:
            group = self._group()
            if not group:
                return
            for done, outcome in self._commit(group):
                try:
                    done(outcome)
                except Exception:
                    _logger.exception("what was stored cannot be acknowledged")
            self._committed_at = time.monotonic()

    def _group(self) -> list[tuple[Callable[[Connection], Any], Callable[[Any], None]]]:
        """Wait for calls, and return those of the next transaction; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
            while not self._is_stopping and self._rows < ENOUGH_ROWS:
                is_gathering = self._last_calls >= MANY_CALLS and self._rows < LITTLE_ROWS
                seconds = GATHERING_SECONDS if is_gathering else SPACING_SECONDS
                left = self._committed_at + seconds - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_MAX))]
            self._last_calls = len(group)
            if not self._waiting:
                self._rows = 0
            return group

    def _commit(
        self, group: list[tuple[Callable[[Connection], Any], Callable[[Any], None]]]
    ) -> list[tuple[Callable[[Any], None], Any]]:
        outcomes: list[tuple[Callable[[Any], None], Any]] = []
        began = time.monotonic()
        try:
            with self._database.writing() as writer:
                for call, done in group:
                    outcomes.append((done, self._try(writer, call)))
        except Exception as error:  # the whole group: nobody's rows are on disk
            if not isinstance(error, StoreFailed):
                _logger.exception("the writer failed")
                error = StoreFailed(f"{type(error).__name__}: {error}")
            return [(done, error) for _, done in group]
        self.commits += 1
        self.commit_seconds += time.monotonic() - began
        return outcomes

    @staticmethod
    def _try(writer: Connection, call: Callable[[Connection], T]) -> T | StoreFailed | Refusal:
        """Carry out one call so that its failure is its own."""
        writer.execute("SAVEPOINT call")
        try:
            result = call(writer)
        except Exception as error:
            writer.execute("ROLLBACK TO SAVEPOINT call")
            writer.execute("RELEASE SAVEPOINT call")
            return error if isinstance(error, Refusal) else StoreFailed(f"{type(error).__name__}: {error}")
        writer.execute("RELEASE SAVEPOINT call")
        return result
