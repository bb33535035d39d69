"""What became of a run, on the user's side: its samples, its aggregates and its windows, behind one lock."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from heflwr.monitor.history import History
from heflwr.monitor.metrics import Metric
from heflwr.monitor.sample import Sample
from heflwr.monitor.sampling import Report
from heflwr.monitor.summary import Accumulator, Aggregate

_BATCH = 32
"""Samples are added up so many at a time, or when someone asks: alone, each would find the processor's caches cold and
cost ten times as much. A batch holds the interpreter for a tenth of a millisecond."""


class Section:
    """The samples between two marks."""

    def __init__(self) -> None:
        self.accumulator: Accumulator | None = None
        self.is_closed = False


class Recording:
    """One run. Written by the thread that gets the samples, read by any."""

    def __init__(self, metrics: Sequence[Metric], capacity: int) -> None:
        self.metrics = tuple(metrics)
        self.report = Report()
        self._lock = threading.RLock()  # a signal handler of the user may ask while its thread is asking
        self._history = History(metrics, capacity)
        self._total = Accumulator(metrics)
        self._waiting: list[Sample] = []
        self._count = 0
        self._open: list[Section] = []
        self._marks: dict[int, Section] = {}
        self._token = 0

    def expect_mark(self, section: Section) -> int:
        """Return a token: the sample that carries it opens the section, or closes it if it is open."""
        with self._lock:
            self._token += 1
            self._marks[self._token] = section
            return self._token

    def sample(self, sample: Sample, mark: int) -> None:
        """Take one sample, and the mark that it carries (0 for none)."""
        with self._lock:
            self._count += 1
            self._waiting.append(sample)
            marked = self._marks.pop(mark, None)
            if marked is None:
                if len(self._waiting) >= _BATCH:
                    self._add_up()
                return
            self._add_up()
            if marked.accumulator is None:
                marked.accumulator = Accumulator(self.metrics, baseline=sample)
                self._open.append(marked)
            else:
                marked.is_closed = True
                self._open.remove(marked)

    def fail(self, reason: str) -> None:
        """Remember why the run ended early; the first reason stands."""
        self.report.failure = self.report.failure or reason

    def aggregates(self, section: Section | None = None) -> tuple[dict[str, Aggregate], float]:
        """Return the aggregates of the run, or of a section of it, and the seconds that they cover."""
        with self._lock:
            self._add_up()
            accumulator = self._total if section is None else section.accumulator
            return ({}, 0.0) if accumulator is None else (accumulator.aggregates(), accumulator.seconds)

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

    def _add_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sample in waiting:
            self._history.add(sample)
            self._total.add(sample)
            for section in self._open:
                assert section.accumulator is not None
                section.accumulator.add(sample)
