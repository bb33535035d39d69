"""The live channel: functions of a fleet watched second by second, without Flower or between its rounds.

An `Agent` on each machine samples, and is silent while its vectors are in their zones; a `LiveCoordinator` knows every
function within its bound. Both read the same list of functions (`read_watches`). One ZeroMQ connection an agent, made
by the agent, with CURVE keys (`heflwr.live.keys`). Names are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heflwr.live.agent import Agent
    from heflwr.live.coordinator import LiveCoordinator
    from heflwr.live.standing import Standing
    from heflwr.live.watches import Watch, Watches, read_watches

_HOMES = {
    "Agent": "agent",
    "LiveCoordinator": "coordinator",
    "Standing": "standing",
    "Watch": "watches",
    "Watches": "watches",
    "read_watches": "watches",
}

__all__ = ["Agent", "LiveCoordinator", "Standing", "Watch", "Watches", "read_watches"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
