"""A named section of a run, with a summary of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from heflwr.monitor.metrics import documented
from heflwr.monitor.recording import Section
from heflwr.monitor.session import Session
from heflwr.monitor.summary import Aggregate, summarize


class Window:
    """The part of a run between entering and leaving the `with` block. Made by `Monitor.window`.

    Attributes:
        name: What the user called it.
    """

    def __init__(self, name: str, current: Callable[[], Session], *, is_told: bool = True) -> None:
        self.name = name
        self._is_told = is_told
        self._began = 0.0
        self._current = current
        self._session = current()
        self._section = Section()

    def __enter__(self) -> Self:
        self._session, self._section = self._current(), Section()
        self._session.open(self._section)
        self._began = time.time()
        if self._is_told:
            self._session.tell(self.name, self._began, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close(self._section)
        if self._is_told:
            self._session.tell(self.name, self._began, max(self._began, time.time()))  # a clock may be set back

    def summary(self) -> dict[str, float | int]:
        """Return the section in numbers, with the keys of `Monitor.summary`; zeros where nothing ran."""
        return summarize(documented(self._session.groups), self.describe())

    def describe(self) -> dict[str, Aggregate]:
        """Return count, mean, minimum, maximum and total of every metric over the section."""
        return self._aggregates()[0]

    @property
    def seconds(self) -> float:
        """How long the section took, seconds."""
        return self._aggregates()[1]

    @property
    def is_complete(self) -> bool:
        """True once both edges have been sampled; False too where the sampler could not be told of one."""
        self._aggregates()
        return self._section.is_closed and not self._section.has_lost_an_edge

    def _aggregates(self) -> tuple[dict[str, Aggregate], float]:
        if not self._section.is_closed:
            self._session.sync()
        return self._session.recording.aggregates(self._section)
