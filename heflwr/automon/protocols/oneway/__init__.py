"""The one-way protocol: nodes report, the coordinator certifies; docs/automon.md has the proof."""

from heflwr.automon.protocols.oneway.choice import choose_certifier
from heflwr.automon.protocols.oneway.coordinator import OnewayCoordinator
from heflwr.automon.protocols.oneway.fleet import OnewayFleet

__all__ = ["OnewayCoordinator", "OnewayFleet", "choose_certifier"]
