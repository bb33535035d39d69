"""Carries the samples of all calls of a process to the user's sinks, in one thread of its own.

A sink may hang: on a network file system, on a collector that does not answer. Here it keeps nobody waiting but the
sinks behind it; what piles up beyond a bound is given up and told.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import Sink

OPEN_SECONDS = 0.05
"""Longest that a call waits to hear whether its sinks could be opened; a file takes a thousandth of it."""

SETTLE_SECONDS = 0.01
"""Longest that the end of a call waits to hear whether its samples could be written."""

PENDING = 10_000
"""Samples, openings and closings that may wait for a slow sink: minutes of sampling, a few MB."""

EXIT_SECONDS = 1.0
"""On top of what the sinks want for themselves: how long the end of the process waits for what is pending."""


class Relay:
    """The thread and what waits for it. Made once a process; its thread begins with the first outlet."""

    def __init__(self) -> None:
        self._pending: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._flush_seconds = 0.0
        self._is_at_work = False

    @property
    def is_idle(self) -> bool:
        """True while nothing is done and nothing waits."""
        return not self._is_at_work and self._pending.empty()

    def put(self, action: Callable[[], None]) -> bool:
        """Have the thread do something, or return False where too much waits already."""
        if self._pending.qsize() >= PENDING:
            return False
        self._pending.put(action)
        return True

    def begin(self, flush_seconds: float) -> None:
        """Start the thread where it is not on; remember what sinks ask for at the end of the process."""
        with self._lock:
            self._flush_seconds = max(self._flush_seconds, flush_seconds)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heflwr-sinks", daemon=True)
                self._thread.start()
                atexit.register(self._end, os.getpid())

    def _run(self) -> None:
        while True:
            action = self._pending.get()
            self._is_at_work = True
            action()
            self._is_at_work = False

    def _end(self, pid: int) -> None:
        """Wait until what is pending has been done, for a while."""
        if pid == os.getpid():
            done = threading.Event()
            self._pending.put(done.set)
            done.wait(self._flush_seconds + EXIT_SECONDS)


class Outlet:
    """The sink of one call's monitor: hands everything to the relay, and knows what failed behind it."""

    flush_seconds = 0.0

    def __init__(self, relay: Relay, sinks: tuple[Sink, ...]) -> None:
        self._relay = relay
        self._waiting = list(sinks)
        self._open: list[Sink] = []
        self._failures: dict[str, str] = {}
        self._lost = 0
        self._is_slow = False
        self._written = threading.Event()

    @property
    def notes(self) -> list[str]:
        """What is known by now to have failed."""
        found = list(self._failures.values())
        if self._is_slow:
            found.append("a sink is slow; what becomes of these samples is not known yet")
        if self._lost:
            found.append(f"a sink is too slow, {self._lost} samples were given up")
        return [f"sinks: {text}" for text in found]

    def open(self, run: Run) -> None:
        self._relay.begin(sum(sink.flush_seconds for sink in self._waiting))
        opened = threading.Event()
        is_idle = self._relay.is_idle

        def act() -> None:
            for sink in self._waiting:
                if self._try(sink, sink.open, run):
                    self._open.append(sink)
            opened.set()

        if not self._relay.put(act):
            self._lost += 1
        elif not is_idle or not opened.wait(OPEN_SECONDS):
            self._is_slow = True

    def write(self, sample: Sample) -> None:
        def act() -> None:
            for sink in self._open:
                self._try(sink, sink.write, sample)

        if not self._relay.put(act):
            self._lost += 1

    def window(self, name: str, start: float, end: float | None) -> None:
        """Tell those of the sinks that want to know of windows."""

        def act() -> None:
            for sink in self._open:
                if (tell := getattr(sink, "window", None)) is not None:
                    self._try(sink, tell, name, start, end)

        if not self._relay.put(act):
            self._lost += 1

    def close(self) -> None:
        def act() -> None:
            opened, self._open = self._open, []
            for sink in opened:
                self._try(sink, sink.close)

        self._relay.put(self._written.set)
        self._relay.put(act)

    def settle(self) -> None:
        """Wait a moment until all has been written, where no sink is known to be slow."""
        if not self._is_slow and not self._written.wait(SETTLE_SECONDS):
            self._is_slow = True

    def facts(self) -> dict[str, Any]:
        return {"sink": "relay", "failures": list(self._failures.values()), "lost": self._lost}

    def _try(self, sink: Sink, action: Callable[..., None], *arguments: Any) -> bool:
        try:
            action(*arguments)
        except BaseException as error:  # also what would end the thread: it serves other calls, too
            self._failures[f"{type(sink).__name__}.{action.__name__}"] = f"{type(error).__name__}: {error}"
            return False
        return True
