"""The pull protocol: for nodes that only speak when they are spoken to, such as the clients of a Flower server.

What a coordinator has to say rides on a message that goes to the node anyway, so that constraints cost no message, and
a new zone may come with each. What it never can is reach all nodes at once: the answer is certified over nodes that
were checked against different zones; docs/silence.md has the proof. Names are imported when they are first used: a node
needs none of what a coordinator does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heflwr.automon.protocols.pull.coordinator import PullCoordinator
    from heflwr.automon.protocols.pull.messages import Ask, Reply
    from heflwr.automon.protocols.pull.node import Memory, step

_HOMES = {"Ask": "messages", "Memory": "node", "PullCoordinator": "coordinator", "Reply": "messages", "step": "node"}

__all__ = ["Ask", "Memory", "PullCoordinator", "Reply", "step"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
