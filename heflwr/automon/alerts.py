"""Alerts on an answer: called when its bound makes something certain, or when it no longer rules it out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from heflwr.automon.answer import Answer, Guarantee


@dataclass(frozen=True)
class Alert:
    """What to call, and when.

    Args:
        call: Gets the answer.
        above: The value is above this number; or
        below: it is below this one. One of both.
        certain: Only where the bound proves it; else wherever the bound does not rule it out.
    """

    call: Callable[[Answer], Any] = field(repr=False)
    above: float | None = None
    below: float | None = None
    certain: bool = True

    def __post_init__(self) -> None:
        if not callable(self.call):
            raise TypeError(f"call must be a function of the answer, got {self.call!r}")
        if (self.above is None) == (self.below is None):
            raise ValueError(f"give one of above and below, got above={self.above} and below={self.below}")
        if not math.isfinite(self.threshold):
            raise ValueError(f"a threshold must be finite, got {self.threshold}")

    @property
    def threshold(self) -> float:
        """The number that the value is compared with."""
        threshold = self.above if self.above is not None else self.below
        assert threshold is not None
        return float(threshold)

    def is_due(self, answer: Answer) -> bool:
        """Whether an answer says so: for `certain` True alone, else True or open; never where no bound is known.

        A heuristic bound proves nothing, so that it makes nothing certain.
        """
        if not _says_something(answer):
            return False
        verdict = answer.is_below(self.threshold) if self.above is None else answer.is_above(self.threshold)
        if self.certain:
            return verdict is True and answer.guarantee is not Guarantee.HEURISTIC
        return verdict is not False


class Watchman:
    """Looks at answers, one after the other, and calls an alert when it becomes due: once, until it is over.

    An answer without a bound neither begins an alert nor ends one.
    """

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self._alerts = tuple(alerts)
        self._is_due = [False] * len(self._alerts)

    def look(self, answer: Answer) -> list[Exception]:
        """Call what has become due with the answer; return what the calls raised."""
        failures: list[Exception] = []
        if not _says_something(answer):
            return failures
        for place, alert in enumerate(self._alerts):
            was_due, self._is_due[place] = self._is_due[place], alert.is_due(answer)
            if self._is_due[place] and not was_due:
                try:
                    alert.call(answer)
                except Exception as error:
                    failures.append(error)
        return failures


def _says_something(answer: Answer) -> bool:
    """Whether there is a value with a bound; before the first answer, or while one is awaited, there is none."""
    return math.isfinite(answer.value) and math.isfinite(answer.bound)
