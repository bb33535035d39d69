"""One watched function on the server: its protocol, its alerts, what it took, and what was known after a round."""

from __future__ import annotations

from dataclasses import dataclass, field

from heflwr.automon.alerts import Watchman
from heflwr.automon.answer import Answer
from heflwr.automon.fleet import Measure
from heflwr.automon.protocols.pull.coordinator import PullCoordinator


@dataclass(frozen=True, slots=True)
class Settled:
    """What was known of one function after a round.

    Attributes:
        name: Of the function.
        unit: Of its value and its bound.
        round: 1, 2, ...
        time: Unix time, seconds.
        answer: Value, bound and guarantee.
        reports: Local vectors that came since the beginning.
        replies: What would have come by then if every node told its vector in each of its replies.
        reporters: Nodes whose vectors came since the round before.
    """

    name: str
    unit: str
    round: int
    time: float
    answer: Answer
    reports: int
    replies: int
    reporters: tuple[int, ...] = ()


@dataclass(slots=True)
class Traffic:
    """What watching one function took so far.

    Attributes:
        reports: Replies with a local vector.
        replies: Replies with a vector, or the word that it is still within its zone.
        bytes_sent: To the nodes; zones.
        bytes_received: From them.
    """

    reports: int = 0
    replies: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(slots=True)
class Line:
    """A function at work; whoever has the fleet's lock may change it."""

    measure: Measure
    coordinator: PullCoordinator
    watchman: Watchman
    answer: Answer
    traffic: Traffic = field(default_factory=Traffic)
    reporters: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, measure: Measure, lease: int) -> Line:
        """Return the line of a measure that has a bound."""
        assert measure.bound is not None
        coordinator = PullCoordinator(
            measure.function, measure.bound, span=measure.span, is_total=measure.is_total, lease=lease
        )
        return cls(measure, coordinator, Watchman(measure.alerts), coordinator.answer)

    def settle(self, round: int, time: float, answer: Answer) -> Settled:
        """Take a round's answer for the present one, and return what is to be told of it."""
        self.answer = answer
        told = tuple(sorted(self.reporters))
        self.reporters.clear()
        traffic = self.traffic
        return Settled(
            self.measure.name, self.measure.unit, round, time, answer, traffic.reports, traffic.replies, told
        )
