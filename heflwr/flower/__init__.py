"""heflwr for Flower: what every client's every call costs, in any Flower app, with one line on each side.

client_app = heflwr.flower.monitored(ClientApp(...))       # or ClientApp(mods=[heflwr.flower.MonitorMod()])
server_app = heflwr.flower.monitored(ServerApp(...))       # or, in main: grid = heflwr.flower.MonitoredGrid(grid)
"""

from heflwr.flower.client import MonitoredClient, MonitorMod
from heflwr.flower.entry import Entry
from heflwr.flower.history import History, Overhead
from heflwr.flower.measure import Node
from heflwr.flower.server import MonitoredGrid, MonitoredServer
from heflwr.flower.wrap import monitored

__all__ = [
    "Entry",
    "History",
    "MonitorMod",
    "MonitoredClient",
    "MonitoredGrid",
    "MonitoredServer",
    "Node",
    "Overhead",
    "monitored",
]
