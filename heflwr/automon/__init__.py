"""Geometric monitoring: any function of the fleet's mean vector within a bound, from a fraction of the messages.

After AutoMon (Sivan, Gabel, Schuster, SIGMOD 2022, doi 10.1145/3514221.3517866). Names are imported when they are first
used: a node needs NumPy alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heflwr.automon import fleet, forms
    from heflwr.automon.answer import Answer
    from heflwr.automon.box import Box
    from heflwr.automon.coordinator import Coordinator
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.node import Node
    from heflwr.automon.report import Report
    from heflwr.automon.simulation import simulate

_HOMES = {
    "Answer": "answer",
    "Box": "box",
    "Coordinator": "coordinator",
    "Function": "function",
    "Node": "protocols.node",
    "Report": "report",
    "fleet": "",
    "forms": "",
    "simulate": "simulation",
}

__all__ = ["Answer", "Box", "Coordinator", "Function", "Node", "Report", "fleet", "forms", "simulate"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module, or a public module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOMES[name]:
        return import_module(f"{__name__}.{name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
