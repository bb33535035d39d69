"""What one process knows of its requests: where figures go, whose memory is whose, and what failed."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from heflwr.monitor.high_water import HighWater, Stay, high_water
from heflwr.monitor.wsgi.slots import Slot, tables
from heflwr.monitor.wsgi.table import Key, Observation, Table

_logger = logging.getLogger("heflwr.monitor")


class Books:
    """Begun by the first request of a process; a fork lets go of its parent's. No method but tables() raises."""

    def __init__(self, directory: Path | None, *, has_memory: bool) -> None:
        """Open what there is to open; what cannot be had is counted as a fault, and done without.

        Args:
            directory: Shared by all processes of the application; None where there is one.
            has_memory: Look at memory, where the system lets us.
        """
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Key, Observation] | None] = deque()
        self._directory = directory
        self._slot: Slot | None = None
        self._high_water: HighWater | None = None
        self._is_ours = True
        self._is_told = False
        self._table = Table.empty()
        if directory is not None:
            try:
                self._slot = Slot(directory)
                self._table = self._slot.table
            except OSError as error:
                self.failed(error)
        if has_memory:
            try:
                self._high_water = high_water()
            except OSError as error:
                _logger.info("memory of requests is not measured here: %s", error)

    def tables(self) -> Iterator[Table]:
        """Yield the tables of all processes. Raises OSError where the directory cannot be read, or lost our file."""
        if self._slot is None:
            yield self._table
        else:
            self._slot.check()
        if self._directory is not None:
            yield from tables(self._directory)

    @property
    def is_shared(self) -> bool:
        """Other processes read what this one counts."""
        return self._slot is not None

    def enter(self) -> Stay | None:
        """A request begins."""
        if self._high_water is None or not self._is_ours:
            return None
        try:
            return self._high_water.enter()
        except OSError as error:
            self.failed(error)
            return None

    def leave(self, stay: Stay | None) -> tuple[int | None, int | None]:
        """A request ends: return its peak and its rise of memory."""
        if stay is None or self._high_water is None or not self._is_ours:
            return None, None
        try:
            return self._high_water.leave(stay)
        except OSError as error:
            self.failed(error)
            return None, None

    def add(self, key: Key, seen: Observation) -> None:
        """Count a request; not where it began in the parent of a fork, which counts it itself."""
        self._count((key, seen))

    def failed(self, error: Exception) -> None:
        """Count what went wrong; log the first."""
        self._count(None)
        if self._is_ours and not self._is_told:
            self._is_told = True
            _logger.warning("measuring a request failed (counted from now on): %r", error)

    def _count(self, what: tuple[Key, Observation] | None) -> None:
        """Count a request, or None for a fault: here, or by whoever is counting now.

        Nobody waits: a request that nobody closed may end by garbage collection, amidst the counting of another one.
        """
        if not self._is_ours:
            return
        self._waiting.append(what)
        while self._waiting and self._lock.acquire(blocking=False):
            try:
                while self._waiting:
                    if (next_one := self._waiting.popleft()) is None:
                        self._table.count_fault()
                    else:
                        self._table.add(*next_one)
            finally:
                self._lock.release()

    def let_go(self) -> None:
        """Give up, in a fork, what belongs to the parent. No lock: a thread that did not come along may hold it."""
        self._is_ours = False
        self._high_water = None
        self._table.close()
