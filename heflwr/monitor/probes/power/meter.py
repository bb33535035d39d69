"""From readings to energy: the trapezoid over the readings' own time stamps, or the difference of a counter.

Both meters account for the time up to each sample. Between the latest reading and the sample a level is taken to hold;
the next reading puts that right, so totals are those of the trapezoid over all readings, and no sample's energy is
negative.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, Protocol

from heflwr.monitor.sample import MISSING


class Flow(NamedTuple):
    """What a meter tells at a sample: the power (mW), and the energy since the previous sample (mJ)."""

    power_milliwatts: float
    energy_millijoules: float


NO_FLOW = Flow(MISSING, MISSING)


class Meter(Protocol):
    """Turns readings of one quantity into power and energy; its calls may come from different threads."""

    def add(self, at_ns: int, value: float) -> None:
        """Take a reading of the monotonic clock's time `at_ns`. NaN breaks nothing: the next reading joins the last."""

    def cut(self) -> None:
        """Nothing is known from the last reading up to the next one: that time has no energy."""

    def start(self, now_ns: int) -> None:
        """Count from here."""

    def take(self, now_ns: int) -> Flow:
        """Return the flow at `now_ns` and count on from there; NaN before the first reading."""


class LevelMeter:
    """For a source that tells power in mW.

    A negative power is told as it was read (a current sensor at rest may be off by that much) but adds no energy.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._power = MISSING  # as last read
        self._level: float | None = None  # what the trapezoid's open end stands at
        self._at_ns = 0
        self._total = 0.0
        self._told = 0.0
        self._is_new = True

    def add(self, at_ns: int, value: float) -> None:
        with self._lock:
            self._power = value
            if value != value:
                return
            level = max(0.0, value)
            if self._level is not None:
                if at_ns <= self._at_ns:  # two threads read at once: the later stamp stands
                    return
                self._total += 0.5 * (self._level + level) * (at_ns - self._at_ns) * 1e-9
            self._level = level
            self._at_ns = at_ns
            self._is_new = False

    def cut(self) -> None:
        with self._lock:
            self._power = MISSING
            self._level = None

    def start(self, now_ns: int) -> None:
        with self._lock:
            self._told = self._reach(now_ns)

    def take(self, now_ns: int) -> Flow:
        with self._lock:
            if self._is_new:
                return NO_FLOW
            energy = max(0.0, self._reach(now_ns) - self._told)
            self._told += energy
            return Flow(self._power, energy)

    def _reach(self, now_ns: int) -> float:
        """Return the energy up to now, mJ: the latest level holds."""
        return self._total + (self._level or 0.0) * (now_ns - self._at_ns) * 1e-9


class CounterMeter:
    """For a source that counts energy in mJ. Its power is the mean since the previous sample."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count: float | None = None
        self._at_ns = 0
        self._total = 0.0
        self._told = 0.0
        self._told_ns = 0
        self._power = MISSING
        self._is_new = True

    def add(self, at_ns: int, value: float) -> None:
        with self._lock:
            if value != value:
                return
            if self._count is not None:
                if at_ns <= self._at_ns:
                    return
                self._total += max(0.0, value - self._count)
            else:
                self._told_ns = at_ns
            self._count = value
            self._at_ns = at_ns
            self._is_new = False

    def cut(self) -> None:
        with self._lock:
            self._count = None
            self._power = MISSING

    def start(self, now_ns: int) -> None:
        with self._lock:
            self._told = self._total
            self._told_ns = self._at_ns

    def take(self, now_ns: int) -> Flow:
        with self._lock:
            if self._is_new:
                return NO_FLOW
            energy = self._total - self._told
            if self._count is not None and self._at_ns > self._told_ns:
                self._power = energy / ((self._at_ns - self._told_ns) * 1e-9)
            self._told = self._total
            self._told_ns = self._at_ns
            return Flow(self._power, energy)
