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
        wait: Seconds after which it may be different; 0 where that is not known.
        allow: Methods that are allowed, where this one is not.
    """

    def __init__(self, status: int, reason: str, text: str, wait: float = 0.0, allow: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.text = text
        self.wait = wait
        self.allow = allow


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
        rows: At least one, unless there are windows.
        about: What the sender says of itself (host, pid, units, ...), {} where it said nothing.
        windows: Stretches of the run that have begun or ended.
    """

    identifier: str
    run: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    about: dict[str, Any]
    windows: tuple[Window, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Window:
    """A named stretch of a run's time.

    Attributes:
        name: "round 3" or the like.
        start: Unix seconds.
        end: Unix seconds; None while it is open.
        labels: Text by name.
    """

    name: str
    start: float
    end: float | None
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class FunctionPoint:
    """What a coordinator knew of a function at a moment.

    Attributes:
        name: Of the function.
        unit: Of its value; "" for none.
        guarantee: What backs the bound, a word.
        reason: The same as a sentence.
        sequence: 0, 1, 2, ... of this function in this run.
        time: Unix seconds.
        round: Number of the round, None where there are none.
        value: The answer; None while it is unknown.
        bound: Largest error of the answer; None while it is unknown.
        truth: The function's true value, where somebody knows it.
        live: Nodes that are heard of.
        stale: Nodes that have not been heard of lately.
        lost: Nodes that are given up.
        messages: Messages so far.
        centralization: Messages that sending everything would have taken so far.
    """

    name: str
    unit: str
    guarantee: str
    reason: str
    sequence: int
    time: float
    round: int | None
    value: float | None
    bound: float | None
    truth: float | None
    live: int | None
    stale: int | None
    lost: int | None
    messages: int | None
    centralization: int | None


@dataclass(frozen=True, slots=True)
class FunctionBatch:
    """Points of one coordinator's functions.

    Attributes:
        identifier: Who coordinates.
        run: Id of its run.
        points: At least one.
    """

    identifier: str
    run: str
    points: tuple[FunctionPoint, ...]
