"""The thread that tidies a store: rollups every few seconds, merges every few minutes, an end to what is too old."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from heflwr.collector.store import forgetting, rolling, upkeep
from heflwr.collector.store.database import Connection, Database
from heflwr.collector.store.errors import StoreFailed
from heflwr.collector.store.group import GroupWriter

ROLL_SECONDS = 15.0
"""How far rollups may lag behind the chunks: readers add up so much themselves. What a roll costs hardly depends on how
many chunks a run has; for a thousand clients it is as much as taking what they send in five seconds."""

MERGE_SECONDS = 600.0
FORGET_SECONDS = 3600.0

AT_ONCE = 500
"""Most runs, functions or clients that one transaction looks at, to delete as many rows as it may."""

T = TypeVar("T")

_logger = logging.getLogger("heflwr.collector")


class Keeper:
    """Tidies between start() and stop(); a fault is logged, and tried again.

    Args:
        database: What to tidy.
        writer: Who writes to it.
        raw_seconds: How long raw samples and log lines stay.
        minute_seconds: How long one-minute buckets, windows and points of functions stay.
        run_seconds: How long a run stays that is not heard of, with all that is of it.
    """

    def __init__(
        self,
        database: Database,
        writer: GroupWriter,
        *,
        raw_seconds: float,
        minute_seconds: float,
        run_seconds: float,
    ) -> None:
        self._database = database
        self._writer = writer
        self._raw_seconds = raw_seconds
        self._minute_seconds = minute_seconds
        self._run_seconds = run_seconds
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="heflwr-collector-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, between two transactions; does nothing when it is stopped."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def roll(self) -> None:
        """Bring the rollups up to the last chunk."""
        while self._roll_some() and not self._stopping.is_set():
            pass

    def _roll_some(self) -> bool:
        """Return whether there may be more."""
        with self._database.reading() as reader:
            before = rolling.mark(reader, "rolled")
            chunks, is_cut = rolling.portion(rolling.tail(reader, before, limit=rolling.CHUNKS_AT_ONCE))
        if chunks:
            found = rolling.summed(chunks)
            self._writer.write(lambda writer: rolling.write(writer, found, before, chunks[-1][0]))
        return is_cut

    def compact(self) -> None:
        """Do now what is otherwise done from time to time: roll up, merge small chunks, forget what is too old."""
        self.roll()
        self._merge()
        self._trim()
        self._forget()
        self._database.give_back()

    def _merge(self) -> None:
        with self._database.reading() as reader:
            after, upto = rolling.mark(reader, "merged"), rolling.mark(reader, "rolled")
            groups = upkeep.to_merge(reader, after, upto)
        for group in groups:
            if self._stopping.is_set():
                return
            self._writer.write(lambda writer, group=group: upkeep.merge(writer, group))  # type: ignore[misc]
        self._writer.write(
            lambda writer: writer.execute("UPDATE marks SET value = ? WHERE name = 'merged'", (upto,)).rowcount
        )

    def _trim(self) -> None:
        """Delete the runs and functions that clients have beyond what stays."""
        now = time.time()
        with self._database.reading() as reader:
            runs, functions = forgetting.surplus_runs(reader), forgetting.surplus_functions(reader)
        self._each(runs, lambda writer, some: forgetting.forget_runs(writer, some, now))
        self._each(functions, forgetting.forget_functions)

    def _forget(self) -> None:
        now = time.time()
        with self._database.reading() as reader:
            rolled = rolling.mark(reader, "rolled")
            old = forgetting.old_minutes(reader, now - self._minute_seconds)
            silent = forgetting.silent_runs(reader, now - self._run_seconds)
        for forget in (
            lambda writer: forgetting.forget_raw(writer, now - self._raw_seconds, rolled),
            lambda writer: forgetting.forget_lines(writer, now - self._raw_seconds),
            lambda writer: forgetting.forget_told(writer, now - self._minute_seconds),
        ):
            while not self._stopping.is_set() and self._writer.write(forget):
                pass
        self._each(old, forgetting.forget_minutes)
        self._each(silent, lambda writer, some: forgetting.forget_runs(writer, some, now - self._run_seconds))
        with self._database.reading() as reader:
            empty = forgetting.empty_clients(reader)
        self._each(empty, forgetting.forget_clients)

    def _each(self, found: list[T], forget: Callable[[Connection, Sequence[T]], int]) -> None:
        """Have what was found forgotten, a transaction after the other, until it is time to stop."""
        done = 0
        while done < len(found) and not self._stopping.is_set():
            some = found[done : done + AT_ONCE]
            done += self._writer.write(lambda writer, some=some: forget(writer, some))  # type: ignore[misc]

    def _run(self) -> None:
        due = {self._merge: MERGE_SECONDS, self._forget_and_give_back: FORGET_SECONDS}
        began = time.monotonic()
        next_at = {task: began + seconds for task, seconds in due.items()}
        while not self._stopping.wait(ROLL_SECONDS):
            try:
                self.roll()
                self._trim()
                for task, seconds in due.items():
                    if time.monotonic() >= next_at[task]:
                        next_at[task] = time.monotonic() + seconds
                        task()
            except StoreFailed as error:
                _logger.warning("the database cannot be tidied now: %s", error)
            except Exception:
                _logger.exception("the database cannot be tidied")

    def _forget_and_give_back(self) -> None:
        self._forget()
        self._database.give_back()
