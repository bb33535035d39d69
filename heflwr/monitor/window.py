"""A named section of a run, with a summary of its own."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from heflwr.monitor.metrics import documented
from heflwr.monitor.recording import Recording, Section
from heflwr.monitor.summary import Aggregate, summarize


class Window:
    """The part of a run between entering and leaving the `with` block. Made by `Monitor.window`.

    Attributes:
        name: What the user called it.
    """

    def __init__(
        self,
        name: str,
        recording: Recording,
        mark: Callable[[int], None],
        sync: Callable[[], None],
        groups: dict[str, bool],
    ) -> None:
        self.name = name
        self._recording = recording
        self._mark = mark
        self._sync = sync
        self._groups = groups
        self._section = Section()

    def __enter__(self) -> Window:
        self._section = Section()
        self._mark(self._recording.expect_mark(self._section))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._mark(self._recording.expect_mark(self._section))

    def summary(self) -> dict[str, float | int]:
        """Return the section in numbers, with the keys of `Monitor.summary`; zeros where nothing ran."""
        return summarize(documented(self._groups), self.describe())

    def describe(self) -> dict[str, Aggregate]:
        """Return count, mean, minimum, maximum and total of every metric over the section."""
        if not self._section.is_closed:
            self._sync()
        return self._recording.aggregates(self._section)[0]

    @property
    def seconds(self) -> float:
        """How long the section took, seconds."""
        if not self._section.is_closed:
            self._sync()
        return self._recording.aggregates(self._section)[1]
