"""Both ends of the bytes between a node and the coordinator: what either remembers, so that less has to be said."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from heflwr.automon.codec import checksum, decode, encode
from heflwr.automon.messages import Constraint, Message

if TYPE_CHECKING:
    from heflwr.automon.signals import Signal
    from heflwr.automon.zones.zone import Floats

REMEMBERED = 8
"""Vectors a node keeps after sending: a full sync is built on one of the latest, and they cost 8 d bytes each."""


class NodeLink:
    """A node's end: remembers the vectors that it sent lately, because slacks are anchored to them."""

    def __init__(self) -> None:
        self._sent: OrderedDict[int, Floats] = OrderedDict()

    def encode(self, message: Message | Signal) -> bytes:
        """Return what to send."""
        vector = getattr(message, "vector", None)
        if vector is not None:
            self.remember(vector)
        return encode(message)

    def decode(self, data: bytes) -> Message | Signal:
        """Return what arrived.

        Raises:
            MalformedMessage: It is no message, or one that this node cannot understand.
        """
        return decode(data, self._sent)

    def remember(self, vector: Floats) -> None:
        """Counts a vector as sent."""
        self._sent[checksum(vector)] = vector
        self._sent.move_to_end(checksum(vector))
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)


class CoordinatorLink:
    """The coordinator's end: remembers each node's latest vector, and sends a slack whole the second time."""

    def __init__(self) -> None:
        self._known: dict[int, Floats] = {}
        self._anchored: dict[int, int] = {}

    def encode(self, node: int, message: Message | Signal) -> bytes:
        """Return what to send to a node."""
        known = self._known.get(node)
        if isinstance(message, Constraint) and known is not None:
            # The first may have been lost, or the node has forgotten the vector: then an anchor is of no use.
            if self._anchored.get(node) == message.version:
                known = None
            self._anchored[node] = message.version
        return encode(message, known)

    def received(self, node: int, message: Message) -> None:
        """Takes note of a node's vector; called once it is known that the message is that node's."""
        vector = getattr(message, "vector", None)
        if vector is not None:
            self._known[node] = vector

    def forget(self, node: int) -> None:
        """Drops what is known of a node that is gone."""
        self._known.pop(node, None)
        self._anchored.pop(node, None)
