"""One watched function at the coordinator: its protocol, what was sent for it, who reported, and its alerts."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from heflwr.automon import Coordinator
from heflwr.automon.alerts import Alert, Watchman
from heflwr.automon.transports.coordinator_end import CoordinatorEnd
from heflwr.live.standing import Standing

if TYPE_CHECKING:
    from heflwr.automon import Answer
    from heflwr.automon.messages import Envelope, Message
    from heflwr.live.registry import Seat
    from heflwr.live.watches import Watch

_logger = logging.getLogger("heflwr.live")


class Watched:
    """A watched function; what a method returns is to be sent.

    Args:
        number: Its place in the list.
        watch: What is watched.
        agents: How many the first answer waits for; what the bound of a total is shared among.
        retry_seconds: How long what was sent may be on its way.
        clock: Seconds that never go back.
        on_alert: Gets a line for each alert of the list.
        state: What `state` gave; None: begin from nothing.
    """

    def __init__(
        self,
        number: int,
        watch: Watch,
        agents: int,
        retry_seconds: float,
        clock: Callable[[], float],
        on_alert: Callable[[str], None],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._number, self._watch = number, watch
        function, bound = watch.measure.function, watch.bound / (agents if watch.measure.is_total else 1)
        if state is None:
            coordinator = Coordinator(function, agents, bound)
        else:
            coordinator = Coordinator.from_state(state, function, bound)
        self._end = CoordinatorEnd(coordinator, retry_seconds, clock)
        self._messages = self._updates = 0
        if state is not None:
            self._messages, self._updates = int(state["messages"]), int(state["updates"])
        self._reports: Counter[str] = Counter()
        self._inbox: list[Message] = []
        self._watchman = Watchman([*watch.measure.alerts, *_alerts(watch, on_alert)])

    @property
    def name(self) -> str:
        """What it is called."""
        return self._watch.name

    @property
    def version(self) -> int:
        """Of the constraints; it is what a checkpoint must not be older than."""
        return self._end.coordinator.answer.as_of

    @property
    def state(self) -> dict[str, Any]:
        """What has to survive a restart, as arrays."""
        return self._end.coordinator.state | {"messages": self._messages, "updates": self._updates}

    def restart(self) -> None:
        """Begins anew after a return from a state: everybody is asked, as soon as it is here."""
        self._end.tell(self._end.coordinator.restart)

    def arrived(self, seat: Seat, message: Message) -> None:
        """Takes a message of an agent's node; `weigh` looks at all that arrived together."""
        self._messages += 1
        self._reports[seat.identifier] += 1
        self._end.join(seat.index)  # without the request that this asks for: here is the answer
        self._end.received(seat.index, message)
        self._inbox.append(message)

    def weigh(self) -> list[Envelope]:
        """Gives the coordinator all that has arrived."""
        inbox, self._inbox = self._inbox, []
        return self._end.weigh(inbox)

    def heard(self, seat: Seat, version: int, sequence: int, updates: int) -> list[Envelope]:
        """A heartbeat says that an agent has vectors for this function, and what constraint."""
        self._count(seat, updates)
        return self._end.join(seat.index) + self._end.heard(seat.index, version, sequence)

    def lose(self, index: int) -> list[Envelope]:
        """An agent is gone, or has no vector for this function."""
        return self.weigh() + self._end.lose(index)

    def resend(self) -> list[Envelope]:
        """What is still unanswered."""
        return self._end.tell(self._end.coordinator.resend)

    def encode(self, envelope: Envelope) -> bytes | None:
        """Return what to send; None where it cannot travel."""
        return self._end.encode(envelope)

    def sent(self) -> None:
        """A message went out."""
        self._messages += 1

    def reports(self) -> Counter[str]:
        """Return who sent how many messages since this was asked before."""
        reports, self._reports = self._reports, Counter()
        return reports

    def answer(self, quiet: int) -> Answer:
        """Return what is known; its bound is infinite while somebody is awaited or quiet.

        Args:
            quiet: Agents whose silence says nothing.
        """
        answer = self._end.coordinator.answer
        stale = min(answer.live, answer.stale + quiet)
        scale = answer.live if self._watch.measure.is_total else 1
        is_known = answer.is_quiescent and not stale and answer.value == answer.value
        bound = answer.bound * scale if is_known else math.inf
        return replace(answer, value=answer.value * scale, bound=bound, stale=stale)

    def standing(self, quiet: int) -> Standing:
        """Return the same as a plain value."""
        answer = self.answer(quiet)
        return Standing(
            name=self._watch.name,
            unit=self._watch.measure.unit,
            guarantee=answer.guarantee.value,
            reason=answer.reason,
            value=answer.value if math.isfinite(answer.value) else None,
            bound=answer.bound if math.isfinite(answer.bound) else None,
            live=answer.live,
            stale=answer.stale,
            lost=answer.lost,
            messages=self._messages,
            updates=self._updates,
        )

    def look(self, quiet: int) -> None:
        """Calls the alerts that have become due."""
        for failure in self._watchman.look(self.answer(quiet)):
            _logger.error("an alert of %s failed: %s", self._watch.name, failure)

    def _count(self, seat: Seat, updates: int) -> None:
        known = seat.updates.get(self._number, 0)
        if updates > known:
            self._updates += updates - known
            seat.updates[self._number] = updates


def _alerts(watch: Watch, on_alert: Callable[[str], None]) -> Iterable[Alert]:
    """Yield the alerts that a list of watches asks for."""
    for word, above, below in (("above", watch.above, None), ("below", None, watch.below)):
        threshold = below if above is None else above
        if threshold is None:
            continue
        sure = "may be" if watch.is_possible else "is"

        def call(answer: Answer, text: str = f"{watch.name} {sure} {word} {threshold:g}") -> None:
            on_alert(f"{text}: {answer.value:.6g} +- {answer.bound:.3g} {watch.measure.unit}".rstrip())

        yield Alert(call, above=above, below=below, certain=not watch.is_possible)
