"""One function at the coordinator's end of its connections: what each node knows, and when each was told last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.errors import AutomonError
from heflwr.automon.messages import Constraint, Envelope, Message, Slack
from heflwr.automon.transports.link import CoordinatorLink

if TYPE_CHECKING:
    from heflwr.automon.coordinator import Coordinator

_logger = logging.getLogger("heflwr.automon")


class CoordinatorEnd:
    """What a transport does for one coordinator, without any I/O; what a method returns is to be sent.

    Args:
        coordinator: Whom to tell.
        retry_seconds: How long what was sent may be on its way.
        clock: Seconds that never go back.
    """

    def __init__(self, coordinator: Coordinator, retry_seconds: float, clock: Callable[[], float]) -> None:
        self.coordinator = coordinator
        self._retry_seconds, self._clock = retry_seconds, clock
        self._link = CoordinatorLink()
        self._told: dict[int, float] = {}  # when a node was last sent a constraint

    def received(self, node: int, message: Message) -> None:
        """Takes note of a message as it arrives, before the coordinator weighs it."""
        self._link.received(node, message)

    def weigh(self, messages: Iterable[Message]) -> list[Envelope]:
        """Gives the coordinator all that has arrived, together."""
        arrived = tuple(messages)
        return self.tell(lambda: self.coordinator.receive(*arrived)) if arrived else []

    def join(self, node: int) -> list[Envelope]:
        """A node takes part from now on."""
        return self.tell(lambda: self.coordinator.join(node))

    def heard(self, node: int, version: int, sequence: int) -> list[Envelope]:
        """Sends a constraint again that did not arrive; not one that may still be on its way."""
        if self._clock() - self._told.get(node, -np.inf) < self._retry_seconds:
            return []
        return self.tell(lambda: self.coordinator.heard(node, version, sequence))

    def lose(self, node: int) -> list[Envelope]:
        """A node is gone, and what is known of it."""
        self._link.forget(node)
        self._told.pop(node, None)
        return self.tell(lambda: self.coordinator.lost(node))

    def tell(self, event: Callable[[], list[Envelope]]) -> list[Envelope]:
        """Tells the coordinator; where f fails, as at a point where it has no value, the present answer stays."""
        try:
            return event()
        except AutomonError as error:
            _logger.error("the coordinator could not follow: %s", error)
            return []

    def encode(self, envelope: Envelope) -> bytes | None:
        """Return what to send; None where it cannot travel."""
        try:
            data = self._link.encode(envelope.to, envelope.message)
        except ValueError as error:  # vectors so large that their mean is infinite
            _logger.error("node %d cannot be told: %s", envelope.to, error)
            return None
        if isinstance(envelope.message, Constraint | Slack):
            self._told[envelope.to] = self._clock()
        return data
