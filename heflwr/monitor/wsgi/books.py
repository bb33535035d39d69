"""What one process knows of its requests: where figures go, whose memory is whose, and what failed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from heflwr.monitor.wsgi.high_water import HighWater, Stay, high_water
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
        self._lock = threading.RLock()  # as in HighWater
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
        """Yield the tables of all processes. Raises OSError where the directory cannot be read."""
        if self._slot is None:
            yield self._table
        if self._directory is not None:
            yield from tables(self._directory)

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
        if self._is_ours:
            with self._lock:
                self._table.add(key, seen)

    def failed(self, error: Exception) -> None:
        """Count what went wrong; log the first."""
        if not self._is_ours:
            return
        with self._lock:
            self._table.count_fault()
            is_told, self._is_told = self._is_told, True
        if not is_told:
            _logger.warning("measuring a request failed (counted from now on): %r", error)

    def let_go(self) -> None:
        """Give up, in a fork, what belongs to the parent. No lock: a thread that did not come along may hold it."""
        self._is_ours = False
        if self._slot is not None:
            self._slot.close()
