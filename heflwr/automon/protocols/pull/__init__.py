"""The pull protocol: for nodes that only speak when they are spoken to, such as the clients of a Flower server.

What a coordinator has to say rides on a message that goes to the node anyway, so that constraints cost no message, and
a new zone may come with each. What it never can is reach all nodes at once: the answer is certified over nodes that
were checked against different zones.
"""

from heflwr.automon.protocols.pull.coordinator import PullCoordinator
from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.automon.protocols.pull.node import Memory, step

__all__ = ["Ask", "Memory", "PullCoordinator", "Reply", "step"]
