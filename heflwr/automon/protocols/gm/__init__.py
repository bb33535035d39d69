"""AutoMon's protocol (Sivan, Gabel, Schuster, SIGMOD 2022): slack, lazy sync, full sync; nodes are `protocols.node`."""

from heflwr.automon.protocols.gm.coordinator import Coordinator
from heflwr.automon.protocols.gm.fleet import GmFleet
from heflwr.automon.protocols.gm.lazy import Sync

__all__ = ["Coordinator", "GmFleet", "Sync"]
