"""What went wrong in watching, in words, and how often; none of it costs the run a result."""

from __future__ import annotations

import logging
import threading

MOST = 100
"""Different faults that are counted each by itself: clients choose the words, and there must be an end."""

LENGTH = 300
OTHER = "other"
"""Stands for the faults beyond."""

_logger = logging.getLogger("heflwr.flower")


class Faults:
    """Counts faults, from any thread.

    Attributes:
        last: The latest, with the node that it came from; "" where there was none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, int] = {}
        self.last = ""

    @property
    def times(self) -> dict[str, int]:
        """How often, by what."""
        with self._lock:
            return dict(self._times)

    def add(self, text: str, node: int | None = None) -> None:
        """Count one, and log the first of its kind."""
        text = text[:LENGTH]
        with self._lock:
            key = text if text in self._times or len(self._times) < MOST else OTHER
            is_first = key not in self._times
            self._times[key] = self._times.get(key, 0) + 1
            self.last = last = text if node is None else f"node {node}: {text}"
        if is_first:
            _logger.warning("the fleet's watch goes on: %s", last)
