"""The two clocks a monitor needs, as an argument so that tests can turn them.

Durations come from the monotonic clock and stamps from Unix time: a wall clock that is set back moves no duration.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that only ever grow."""

    def time(self) -> float:
        """Unix time, seconds."""


class SystemClock:
    """The machine's own clocks."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    time = staticmethod(time.time)
