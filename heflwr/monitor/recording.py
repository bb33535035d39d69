"""What became of a run, on the user's side: its samples, its aggregates and its windows, behind one lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from heflwr.monitor.history import History
from heflwr.monitor.metrics import Metric
from heflwr.monitor.sample import Sample
from heflwr.monitor.sampling import Report
from heflwr.monitor.summary import Accumulator, Aggregate

_BATCH = 32
"""Samples are added up so many at a time, or when someone asks: alone, each would find the processor's caches cold and
cost ten times as much. A batch holds the interpreter for a tenth of a millisecond."""


class Section:
    """The samples between two marks.

    Attributes:
        accumulator: Adds them up, once the first mark has come.
        is_closed: The second mark has come, or will not.
        has_lost_an_edge: One of the two could not be asked for: the section is empty, or ends where it was lost.
    """

    def __init__(self) -> None:
        self.accumulator: Accumulator | None = None
        self.is_closed = False
        self.has_lost_an_edge = False


class Recording:
    """One run. Written by the thread that gets the samples, read by any."""

    def __init__(self, metrics: Sequence[Metric], capacity: int) -> None:
        self.metrics = tuple(metrics)
        self.report = Report()
        self._failure = ""
        self._lock = threading.RLock()  # a signal handler of the user may ask while its thread is asking
        self._history = History(metrics, capacity)
        self._total = Accumulator(metrics)
        self._incoming: deque[tuple[Sample, int]] = deque()
        self._is_adding_up = False
        self._count = 0
        self._open: list[Section] = []
        self._marks: dict[int, tuple[Section, bool]] = {}
        self._token = 0

    def expect_mark(self, section: Section, *, opens: bool) -> int:
        """Return a token: the sample that carries it opens the section, or closes it."""
        with self._lock:
            self._token += 1
            self._marks[self._token] = section, opens
            return self._token

    def forget_mark(self, token: int) -> None:
        """No sample will carry this token: the section ends here, without that edge."""
        with self._lock:
            self._add_up()
            section, _ = self._marks.pop(token)
            section.has_lost_an_edge = True
            self._close(section)

    def sample(self, sample: Sample, mark: int) -> None:
        """Take one sample, and the mark that it carries (0 for none). Never waits for whoever is reading."""
        self._incoming.append((sample, mark))
        if (mark or len(self._incoming) >= _BATCH) and self._lock.acquire(blocking=False):
            try:
                self._add_up()
            finally:
                self._lock.release()

    def renew_lock(self) -> None:
        """Forget, in a forked child, a lock that a thread may hold that did not come along."""
        self._lock = threading.RLock()
        self._is_adding_up = False

    def fail(self, reason: str) -> None:
        """Remember why the run ended early, as seen from here; the first reason stands."""
        self._failure = self._failure or self.failure or reason

    @property
    def failure(self) -> str:
        """Why the run ended before stop(), "" if it did not."""
        return self._failure or self.report.failure

    def aggregates(self, section: Section | None = None) -> tuple[dict[str, Aggregate], float]:
        """Return the aggregates of the run, or of a section of it, and the seconds that they cover."""
        with self._lock:
            self._add_up()
            accumulator = self._total if section is None else section.accumulator
            if accumulator is None:
                return {}, 0.0
            aggregates, seconds = accumulator.aggregates(), accumulator.seconds
        if "cpu_seconds" in aggregates and self.report.cpu_cores and seconds:
            # A sample shows 100 % at most, even where a waited-for child hands its time over in one piece.
            could = seconds * self.report.cpu_cores
            mean = min(100.0, 100.0 * aggregates["cpu_seconds"].total / could)
            aggregates["cpu_usage"] = replace(aggregates["cpu_usage"], mean=mean, total=mean * seconds)
        return aggregates, seconds

    def columns(self) -> dict[str, list[float]]:
        """Return each metric's values, oldest first, NaN where missing."""
        with self._lock:
            self._add_up()
            return {metric.name: self._history.column(index) for index, metric in enumerate(self.metrics)}

    def samples(self) -> list[Sample]:
        """Return the samples kept."""
        with self._lock:
            self._add_up()
            return list(self._history)

    def counts(self) -> tuple[int, int]:
        """Return how many samples were taken, and how many of them are no longer kept."""
        with self._lock:
            self._add_up()
            return self._count, self._history.forgotten

    def _close(self, section: Section) -> None:
        section.is_closed = True
        if section in self._open:
            self._open.remove(section)

    def _add_up(self) -> None:
        if self._is_adding_up:  # a signal handler interrupted this very thread at it
            return
        self._is_adding_up = True
        try:
            while self._incoming:
                self._take_in(*self._incoming.popleft())
        finally:
            self._is_adding_up = False

    def _take_in(self, sample: Sample, mark: int) -> None:
        self._count += 1
        self._history.add(sample)
        self._total.add(sample)
        for section in self._open:
            assert section.accumulator is not None
            section.accumulator.add(sample)
        marked = self._marks.pop(mark, None)
        if marked is None:
            return
        section, opens = marked
        if not opens:
            self._close(section)
        elif not section.is_closed:
            section.accumulator = Accumulator(self.metrics, baseline=sample)
            self._open.append(section)
