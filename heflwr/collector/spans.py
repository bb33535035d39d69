"""A stretch of time cut into equal steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from heflwr.collector.records import Refusal
from heflwr.collector.store.rollups import LEVELS

POINTS_MAX = 5_000
"""Most steps of an answer: more than any screen has pixels."""

STEPS = (60, 120, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 604_800, 2_592_000, 31_104_000)
"""Steps that are sums of a level's buckets, the fewest to read; seconds."""


@dataclass(frozen=True, slots=True)
class Span:
    """Steps from `start` on.

    Attributes:
        start: Unix seconds, a multiple of the step.
        step: Seconds.
        count: Number of steps.
    """

    start: float
    step: float
    count: int

    @property
    def end(self) -> float:
        """Unix seconds at which the last step ends."""
        return self.start + self.step * self.count

    @property
    def level(self) -> int | None:
        """The coarsest level of which every step is a sum; None where only raw samples will do."""
        return next((level for level in reversed(LEVELS) if not self.step % level), None)

    def at(self, time: float) -> int:
        """Return the number of the step that a time falls in; it may lie outside."""
        return math.floor((time - self.start) / self.step)


def span(since: float, until: float, points: int, least_step: float = 0.0) -> Span:
    """Return the finest span of at most so many steps (and one, where they do not fall on the edges).

    Raises:
        Refusal: It ends before it begins.
    """
    wanted = max((_length(since, until)) / points, least_step, 1e-3)
    if wanted > STEPS[0] / 2:
        step: float = next((step for step in STEPS if step >= wanted), STEPS[-1])
    else:
        step = _round(wanted)
    return of_step(since, until, step)


def of_step(since: float, until: float, step: float) -> Span:
    """Return the span of this step.

    Raises:
        Refusal: It ends before it begins, or has too many steps.
    """
    start = math.floor(since / step) * step
    count = math.floor((since + _length(since, until) - start) / step) + 1
    if count > POINTS_MAX:
        raise Refusal(400, "query", f"that would be {count} points; at most {POINTS_MAX} come, choose a longer step")
    return Span(start, step, count)


def _length(since: float, until: float) -> float:
    if until < since:
        raise Refusal(400, "query", f"until must not be before since, got {until} and {since}")
    return until - since


def _round(seconds: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(seconds))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= seconds * (1 - 1e-9))
