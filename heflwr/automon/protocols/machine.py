"""What every protocol is made of: a node machine and a coordinator machine, sans-IO; messages in, envelopes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from heflwr.automon.answer import Answer
    from heflwr.automon.messages import Envelope, Message
    from heflwr.automon.zones.zone import Floats


class NodeMachine(Protocol):
    """One node: hears its local vector and the coordinator's messages."""

    def update(self, x: Floats) -> list[Envelope]:
        """Takes the new local vector, shape (d,)."""

    def receive(self, message: Message) -> list[Envelope]:
        """Takes a message from the coordinator."""


class CoordinatorMachine(Protocol):
    """The one that knows the answer."""

    def receive(self, *messages: Message) -> list[Envelope]:
        """Takes what the nodes sent; messages that arrived together are best given together."""

    def join(self, node: int) -> list[Envelope]:
        """A new or returning node takes part from now on."""

    def lost(self, node: int) -> list[Envelope]:
        """A node is gone; its vector no longer counts."""

    @property
    def answer(self) -> Answer:
        """What is known now."""

    @property
    def full_syncs(self) -> int:
        """How often all nodes got a new zone."""

    @property
    def lazy_syncs(self) -> int:
        """How often a violation was resolved among some nodes."""


class LiveCoordinator(CoordinatorMachine, Protocol):
    """A coordinator whose nodes may fall silent, come again or miss a message, and that may itself be restarted."""

    @property
    def refused(self) -> int:
        """Messages that no node of ours would send."""

    @property
    def unfit(self) -> dict[int, str]:
        """The nodes that were given up because all they sent was refused, and why."""

    @property
    def state(self) -> dict[str, Any]:
        """All that has to survive a restart, as arrays."""

    def heard(self, node: int, version: int, sequence: int = 0) -> list[Envelope]:
        """A node told the version of its constraint and how many reports it sent."""

    def resend(self) -> list[Envelope]:
        """The requests that are still unanswered."""

    def restart(self) -> list[Envelope]:
        """Begins anew after a return from an old state."""


class Fleet(Protocol):
    """All nodes at once, as `simulate` drives them; a protocol may check them as one array."""

    def update(self, vectors: Floats) -> list[Envelope]:
        """Gives node i row i of (n, d) and collects what the nodes send, in order of nodes."""

    def receive(self, node: int, message: Message) -> list[Envelope]:
        """Hands one message to one node."""


class Machines:
    """A fleet of one object a node; fits every protocol."""

    def __init__(self, nodes: Sequence[NodeMachine]) -> None:
        self._nodes = nodes

    def update(self, vectors: Floats) -> list[Envelope]:
        """Gives node i row i of (n, d) and collects what the nodes send, in order of nodes."""
        return [envelope for node, x in zip(self._nodes, vectors, strict=True) for envelope in node.update(x)]

    def receive(self, node: int, message: Message) -> list[Envelope]:
        """Hands one message to one node."""
        return self._nodes[node].receive(message)
