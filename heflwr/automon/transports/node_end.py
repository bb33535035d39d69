"""One function at a node's end of a connection: the node, what it remembers of what it sent, and when to repeat it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import Constraint, Envelope, Message, Request, Slack
from heflwr.automon.protocols.node import Node, NodeState
from heflwr.automon.transports.link import NodeLink
from heflwr.automon.zone_format import dimension

if TYPE_CHECKING:
    from heflwr.automon.zones.zone import Floats, PointFunction


class NodeEnd:
    """What a transport does for one node, without any I/O; what a method returns is to be sent, in that order.

    Args:
        index: >= 0; no two nodes have the same.
        function: f in NumPy and its domain.
        retry_seconds: After which what is unanswered is said again.
        clock: Seconds that never go back.
    """

    def __init__(self, index: int, function: PointFunction, retry_seconds: float, clock: Callable[[], float]) -> None:
        self._index, self._function = index, function
        self._retry_seconds, self._clock = retry_seconds, clock
        self._node = Node(index, function)
        self.link = NodeLink()
        self._retry_at: float | None = None  # None: nothing is unanswered

    @property
    def state(self) -> NodeState:
        """All that the node remembers."""
        return self._node.state

    @property
    def retry_at(self) -> float | None:
        """When `repeated` is due; None where nothing is unanswered."""
        return self._retry_at

    def restore(self, state: NodeState) -> None:
        """Goes on from a state of before."""
        self._node = Node.from_state(state, self._function)
        if state.vector is not None:
            self.link.remember(state.vector)

    def void(self) -> None:
        """Forgets all that a coordinator said, and keeps the vector."""
        self._node = Node.from_state(NodeState(self._index, vector=self._node.state.vector), self._function)

    def update(self, x: Floats) -> list[Message]:
        """Takes the new local vector, shape (d,).

        Raises:
            ValueError: The vector is not finite, outside the function's domain, or of another shape than before.
        """
        return self._said(self._node.update(x))

    def repeated(self) -> list[Message]:
        """Says again what the last vector gives reason to."""
        self._retry_at = None
        return self._said(self._node.again())

    def take(self, message: Constraint | Slack | Request) -> list[Message]:
        """Gives the node a message; one that does not fit its vector leaves it as it was.

        Raises:
            MalformedMessage: It does not fit.
        """
        state = self._node.state
        size = None if state.vector is None else state.vector.size
        if isinstance(message, Constraint) and dimension(message.zone) not in (None, size):
            raise MalformedMessage(f"a zone for vectors of {dimension(message.zone)} numbers arrived, ours have {size}")
        if isinstance(message, Slack) and message.slack.size != size:
            raise MalformedMessage(f"a slack of {message.slack.size} numbers arrived, our vectors have {size}")
        try:
            envelopes = self._node.receive(message)
        except Exception as error:  # numbers from elsewhere must not end a node
            self._node = Node.from_state(state, self._function)
            raise MalformedMessage(f"the node cannot take this message: {error}") from error
        self._retry_at = None
        return self._said(envelopes)

    def _said(self, envelopes: Iterable[Envelope]) -> list[Message]:
        messages = [envelope.message for envelope in envelopes]
        if messages and self._retry_at is None:
            self._retry_at = self._clock() + self._retry_seconds
        return messages
