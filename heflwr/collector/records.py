"""What a request carries once it has been checked: the only thing that the store takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Refusal(Exception):
    """A request that cannot be taken; the sender's fault.

    Attributes:
        status: HTTP status, 4xx.
        reason: One word, the label of the counter of refusals.
        text: What is wrong and what is allowed, for the sender.
    """

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class Row:
    """One sample.

    Attributes:
        sequence: 0, 1, 2, ... within the run.
        time: Unix time by the sender's clock, seconds.
        values: One number a metric of the batch, in its order; None where missing.
    """

    sequence: int
    time: float
    values: tuple[float | int | None, ...]


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples of one run.

    Attributes:
        identifier: Who was measured.
        run: Random id of one start() of a monitor.
        metrics: Names of the values of every row.
        rows: At least one.
        about: What the sender says of itself (host, pid, units, ...), {} where it said nothing.
    """

    identifier: str
    run: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One log line.

    Attributes:
        message: The text.
        time: Unix time by the sender's clock, seconds; None where it did not say.
        sequence: Number within the run, None for senders that do not count.
        fields: Level, file, line and the like.
        values: Numbers by metric, where the message is a sample in words (see `ancestor`).
    """

    message: str
    time: float | None = None
    sequence: int | None = None
    fields: dict[str, str | int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineBatch:
    """Log lines of one process.

    Attributes:
        identifier: Who logged.
        run: Random id of the process's logging set-up; None for senders that have none.
        lines: At least one.
    """

    identifier: str
    run: str | None
    lines: tuple[Line, ...]
