"""Drives the sources of one probe: a reading a tick, and a thread of its own where ticks are too far apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.power.meter import NO_FLOW, Flow, Meter

POLL_SECONDS = 1.0
"""Readings are never further apart: energy does not depend on the sampling interval, and no counter wraps unseen."""

_CLOSE_SECONDS = 1.0
"""Longest wait for the thread's end: it is at most in the middle of a reading."""


class Source(Protocol):
    """Tells the power of, or counts the energy of, one or more parts of the machine."""

    needs_polling: bool
    """False for a source that fills its meters by itself."""

    meters: dict[str, Meter]
    """A meter a part, from open() on."""

    def open(self) -> str:
        """Take handles, make sure that a reading can be had, and say in a few words what is read.

        Raises:
            SourceUnavailable: It cannot be read here; the text names what was looked for, and the way out.
        """

    def poll(self, now_ns: int) -> None:
        """Put a reading into the meters, or only make sure that the source lives. Raises OSError where it fails."""

    def close(self) -> None:
        """Give handles back. Called once after each open() that returned."""


def open_first(sources: Iterable[Source], refusals: list[str]) -> tuple[Source, str] | None:
    """Return the first source that opens and what it says of itself; the others' reasons go to `refusals`."""
    for source in sources:
        try:
            return source, source.open()
        except SourceUnavailable as error:
            refusals.append(str(error))
        except Exception as error:  # a driver's surprise: this source is refused, the others may do
            refusals.append(f"{type(source).__name__}: cannot be opened ({type(error).__name__}: {error})")
    return None


def refuse(group: str, what: str, refusals: Sequence[str]) -> SourceUnavailable:
    """Return the error for a group that nothing on this machine can fill, with everything that was looked for."""
    return SourceUnavailable("\n".join([f"{group}: {what}. Looked for:", *(f"  - {reason}" for reason in refusals)]))


class Metering:
    """Reads open sources and hands out what their meters tell."""

    def __init__(self, sources: Sequence[Source], interval: float) -> None:
        self._sources = tuple(sources)
        self._polled = tuple(source for source in sources if source.needs_polling)
        self._interval = interval
        self._lock = threading.Lock()
        self._failures: dict[Source, Exception] = {}
        self._known_failing: frozenset[Source] = frozenset()
        self._owners = {part: source for source in sources for part in source.meters}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, now_ns: int) -> None:
        """Count from here, and read on by itself where the interval is too long for one reading a tick."""
        self._poll(self._sources, now_ns)
        for source in self._sources:
            for meter in source.meters.values():
                meter.start(now_ns)
        if self._interval > POLL_SECONDS and self._polled:
            self._thread = threading.Thread(target=self._run, name="heflwr-power-poll", daemon=True)
            self._thread.start()

    def poll(self, now_ns: int) -> None:
        """Read every source.

        Raises what a source raised when it begins to fail, so that this is counted, and at each tick when all of them
        fail. In between, take() tells what the others have. No energy is lost by a raise: the next tick has it.
        """
        self._poll(self._sources, now_ns)
        with self._lock:
            failures = dict(self._failures)
        new = [error for source, error in failures.items() if source not in self._known_failing]
        self._known_failing = frozenset(failures)
        if new or len(failures) == len(self._sources):
            raise (new or list(failures.values()))[0]

    def take(self, parts: Sequence[str], now_ns: int) -> Flow:
        """Return the flow of all `parts` together; NaN where there is none or one of their sources failed just now.

        Nothing is lost by a failure: the energy comes with the first sample after it.
        """
        if not parts or any(self._owners[part] in self._failures for part in parts):
            return NO_FLOW
        flows = [self._owners[part].meters[part].take(now_ns) for part in parts]
        return Flow(sum(flow.power_milliwatts for flow in flows), sum(flow.energy_millijoules for flow in flows))

    def close(self) -> None:
        """End the thread and close every source."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)
        for source in self._sources:
            source.close()

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._poll(self._polled, time.monotonic_ns())

    def _poll(self, sources: Sequence[Source], now_ns: int) -> None:
        with self._lock:
            for source in sources:
                try:
                    source.poll(now_ns)
                    self._failures.pop(source, None)
                except Exception as error:  # poll() raises it into the tick, where failures are counted
                    self._failures[source] = error
