"""How often somebody may come: a bucket of tokens each, filled at a steady rate."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

KNOWN_MAX = 10_000
"""Senders that are remembered, those that came last; a forgotten one begins with a full bucket."""


class Limiter:
    """Token buckets by name. Any thread may call allow().

    Args:
        rate: Requests a second in the long run, > 0.
        burst: Requests at once.
        clock: Seconds that never go back.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, name: str) -> float:
        """Take one token; return 0, or the seconds until there is one."""
        with self._lock:
            now = self._clock()
            tokens, at = self._buckets.pop(name, (self._burst, now))
            tokens = min(self._burst, tokens + (now - at) * self._rate)
            wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
            self._buckets[name] = (tokens if wait else tokens - 1, now)
            if len(self._buckets) > KNOWN_MAX:
                self._buckets.popitem(last=False)
            return wait
