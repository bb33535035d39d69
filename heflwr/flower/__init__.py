"""heflwr for Flower: what every client's every call costs, in any Flower app, with one line on each side.

    client_app = heflwr.flower.monitored(ClientApp(...))       # or ClientApp(mods=[heflwr.flower.MonitorMod()])
    server_app = heflwr.flower.monitored(ServerApp(...))       # or, in main: grid = heflwr.flower.MonitoredGrid(grid)

Names are imported when they are first used: who reads a saved history needs no Flower.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heflwr.flower.client.measure import Node
    from heflwr.flower.client.mod import AutoMonMod, MonitoredClient, MonitorMod
    from heflwr.flower.entry import Entry
    from heflwr.flower.history.ledger import History, Overhead
    from heflwr.flower.history.stream import HistoryFile
    from heflwr.flower.server.app import MonitoredServer
    from heflwr.flower.server.console import Console
    from heflwr.flower.server.gauges import Gauges
    from heflwr.flower.server.grid import MonitoredGrid
    from heflwr.flower.watch.channel import LiveChannel
    from heflwr.flower.watch.fleet import Fleet
    from heflwr.flower.watch.post import FleetPost
    from heflwr.flower.wrap import monitored

_HOMES = {
    "AutoMonMod": "client.mod",
    "Console": "server.console",
    "Entry": "entry",
    "Fleet": "watch.fleet",
    "FleetPost": "watch.post",
    "Gauges": "server.gauges",
    "History": "history.ledger",
    "HistoryFile": "history.stream",
    "LiveChannel": "watch.channel",
    "MonitorMod": "client.mod",
    "MonitoredClient": "client.mod",
    "MonitoredGrid": "server.grid",
    "MonitoredServer": "server.app",
    "Node": "client.measure",
    "Overhead": "history.ledger",
    "monitored": "wrap",
}

__all__ = [
    "AutoMonMod",
    "Console",
    "Entry",
    "Fleet",
    "FleetPost",
    "Gauges",
    "History",
    "HistoryFile",
    "LiveChannel",
    "MonitorMod",
    "MonitoredClient",
    "MonitoredGrid",
    "MonitoredServer",
    "Node",
    "Overhead",
    "monitored",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names too, before they are imported: an interpreter completes what is here."""
    return sorted({*globals(), *__all__})
