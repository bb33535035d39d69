"""One watched function at an agent: from samples to local vectors, and the node that they are fed to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import Constraint, Request, Slack
from heflwr.automon.transports.node_end import NodeEnd
from heflwr.live.frames import Pulse

if TYPE_CHECKING:
    from heflwr.automon.messages import Message
    from heflwr.automon.zones.zone import Floats
    from heflwr.live.watches import Watch


class Channel:
    """A watched function's end; what a method returns is to be sent.

    Args:
        watch: What is watched.
        retry_seconds: After which what is unanswered is said again.
        fresh_seconds: How old the last vector may be.
        clock: Seconds that never go back.
    """

    def __init__(self, watch: Watch, retry_seconds: float, fresh_seconds: float, clock: Callable[[], float]) -> None:
        self._watch, self._retry_seconds, self._fresh_seconds, self._clock = watch, retry_seconds, fresh_seconds, clock
        self._window: deque[Mapping[str, Any]] = deque(maxlen=watch.window)
        self._vector: Floats | None = None
        self._vector_at = 0.0
        self._index: int | None = None
        self._end: NodeEnd | None = None  # None: not let in, or without a vector
        self._counted = self._told = 0  # of updates: told before this seat, and in the last heartbeat
        self.updates = 0
        """Local vectors so far."""
        self.missing = 0
        """Samples that no vector could be made of."""

    def feed(self, samples: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Takes samples, one or more; the node hears of the last. One that lacks a metric makes no vector."""
        vector = None
        for sample in samples:
            self._window.append(sample)
            try:
                vector = self._watch.measure.vector(*self._window)
            except ValueError:
                self._window.pop()
                self.missing += 1
            else:
                self.updates += 1
        if vector is None:
            return []
        self._vector, self._vector_at = vector, self._clock()
        if self._index is None:
            return []
        if self._end is None:
            self._end = self._new_end(self._index)
        return self._updated(self._end, vector)

    def seated(self, index: int, is_new: bool) -> list[Message]:
        """The coordinator has let the agent in.

        Args:
            index: Of the agent's nodes.
            is_new: What a coordinator said before is void.
        """
        self._counted = self._told
        self._forget_old(self._clock())
        if index != self._index or is_new or self._end is None:
            self._index = index
            self._end = None if self._vector is None else self._new_end(index)
            if self._end is not None and self._vector is not None:
                return self._updated(self._end, self._vector)
        return []

    def take(self, data: bytes) -> list[Message]:
        """Gives the node what arrived.

        Raises:
            MalformedMessage: It is no message for it.
        """
        if self._end is None:
            return []
        message = self._end.link.decode(data)
        if not isinstance(message, Constraint | Slack | Request):
            raise MalformedMessage(f"a {type(message).__name__} is no message for a node")
        return self._end.take(message)

    def due(self, now: float) -> list[Message]:
        """Says again what is unanswered; forgets a vector that is too old."""
        self._forget_old(now)
        if self._end is None or self._end.retry_at is None or now < self._end.retry_at:
            return []
        return self._end.repeated()

    def pulse(self, now: float) -> Pulse:
        """Return what a heartbeat says of it."""
        if self._end is None or self._vector is None:
            return Pulse(False)
        self._told = self.updates
        state = self._end.state
        return Pulse(True, state.version, state.sequence, self.updates - self._counted)

    def encode(self, message: Message) -> bytes:
        """Return a message as bytes."""
        assert self._end is not None
        return self._end.link.encode(message)

    def _new_end(self, index: int) -> NodeEnd:
        return NodeEnd(index, self._watch.measure.function, self._retry_seconds, self._clock)

    def _updated(self, end: NodeEnd, vector: Floats) -> list[Message]:
        try:
            return end.update(vector)
        except ValueError:  # outside the function's domain: as if there was none
            self._end = self._vector = None
            self.missing += 1
            return []

    def _forget_old(self, now: float) -> None:
        if self._vector is not None and now - self._vector_at > self._fresh_seconds:
            self._end = self._vector = None
            self._window.clear()
