"""How seldom clients should send, so that a large fleet's requests stay few: each costs as much as several samples."""

from __future__ import annotations

import math
import threading
import time

REQUESTS_SECOND = 200
"""So many a second are asked for at most, by up to WINDOW_SECONDS times as many senders."""

WINDOW_SECONDS = 30.0
"""Senders are counted over so long, two windows by turns; also the longest time between two requests that is asked."""

SENDERS_MAX = 1_000_000
"""Most names that are held while they are counted."""


class Pace:
    """Counts senders, and says how long each should gather samples; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._before = 0
        self._asked = self._asked_before = 1
        self._ends = time.monotonic() + WINDOW_SECONDS

    def heard(self, identifier: str) -> int:
        """Count a sender; return the seconds in which it should send once, 1 to WINDOW_SECONDS."""
        with self._lock:
            self._turn()
            if len(self._names) < SENDERS_MAX:
                self._names.add(identifier)
            seconds = self._seconds()
            self._asked = max(self._asked, seconds)
            return seconds

    @property
    def longest(self) -> int:
        """The most seconds that a sender was asked for of late: some still gather for so long."""
        with self._lock:
            self._turn()
            return max(self._asked, self._asked_before)

    @property
    def seconds(self) -> int:
        """What each is asked to gather for now."""
        with self._lock:
            self._turn()
            return self._seconds()

    def _turn(self) -> None:
        late = time.monotonic() - self._ends
        if late >= 0:
            self._before = len(self._names) if late < WINDOW_SECONDS else 0
            self._names = set()
            self._asked, self._asked_before = 1, self._asked if late < WINDOW_SECONDS else 1
            self._ends += WINDOW_SECONDS * (1 + late // WINDOW_SECONDS)

    def _seconds(self) -> int:
        senders = max(self._before, len(self._names))
        return max(1, min(int(WINDOW_SECONDS), math.ceil(senders / REQUESTS_SECOND)))
