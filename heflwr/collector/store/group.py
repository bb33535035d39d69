"""One thread that writes: what several requests bring at the same time is committed, and synced to disk, once."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from heflwr.collector.records import Refusal
from heflwr.collector.store.database import Connection, Database
from heflwr.collector.store.errors import StoreFailed

GROUP_MAX = 256
"""Most calls in one transaction: none waits for more than that many others."""

SPACING_SECONDS = 0.02
"""Shortest time between the ends of two commits: under load each costs as much as thirty rows. An idle store commits at
once."""

QUEUE_MAX = 4096
"""Calls that may wait; each holds its request's body. Beyond, a sender is told to come again."""

T = TypeVar("T")

_logger = logging.getLogger("heflwr.collector")


class GroupWriter:
    """Carries out calls on the database in order; each has its outcome once it is on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: queue.Queue[tuple[Callable[[Connection], object], Future[object]] | None] = queue.Queue(
            QUEUE_MAX
        )
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._next_at = 0.0
        self.commits = 0
        self.commit_seconds = 0.0

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="heflwr-collector-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what waits, and end; does nothing when it is stopped."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._stopping.set()
                self._waiting.put(None)
        if thread is not None:
            thread.join()

    def write(self, call: Callable[[Connection], T]) -> T:
        """Run the call in a transaction, and return what it returns when that is durable.

        Raises:
            StoreFailed: Nothing of this call was stored.
            Refusal: The call's own; nothing of it was stored.
        """
        outcome: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                raise StoreFailed("the store is closed")
            try:
                self._waiting.put_nowait((call, outcome))  # type: ignore[arg-type]  # a Future of anything
            except queue.Full:
                raise StoreFailed("too many requests wait for the disk") from None
        return outcome.result()

    def _run(self) -> None:
        while True:
            item = self._waiting.get()
            if item is None:
                return
            self._stopping.wait(self._next_at - time.monotonic())
            group = [item]
            is_last = False
            while len(group) < GROUP_MAX:
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    is_last = True
                    break
                group.append(item)
            self._commit(group)
            self._next_at = time.monotonic() + SPACING_SECONDS
            if is_last:
                return

    def _commit(self, group: list[tuple[Callable[[Connection], object], Future[object]]]) -> None:
        outcomes: list[tuple[Future[object], object, Exception | None]] = []
        began = time.monotonic()
        try:
            with self._database.writing() as writer:
                for call, future in group:
                    outcomes.append((future, *self._try(writer, call)))
        except Exception as error:  # the whole group: nobody's rows are on disk
            if not isinstance(error, StoreFailed):
                _logger.exception("the writer failed")
                error = StoreFailed(f"{type(error).__name__}: {error}")
            for _, future in group:
                future.set_exception(error)
            return
        self.commits += 1
        self.commit_seconds += time.monotonic() - began
        for future, result, failure in outcomes:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    @staticmethod
    def _try(writer: Connection, call: Callable[[Connection], object]) -> tuple[object, Exception | None]:
        """Carry out one call so that its failure is its own."""
        writer.execute("SAVEPOINT call")
        try:
            result = call(writer)
        except Exception as error:
            writer.execute("ROLLBACK TO SAVEPOINT call")
            writer.execute("RELEASE SAVEPOINT call")
            return None, error if isinstance(error, Refusal) else StoreFailed(f"{type(error).__name__}: {error}")
        writer.execute("RELEASE SAVEPOINT call")
        return result, None
