"""From a reference point to a zone: the part of the gm protocol that can be exchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from heflwr.automon.answer import Guarantee
    from heflwr.automon.zones.zone import CentredZone, Floats

AtLeast = Literal["exact", "guaranteed", "heuristic"]
"""The weakest guarantee that a caller accepts."""


class Derivation(Protocol):
    """Makes the zone around any reference point."""

    @property
    def has_neighbourhood(self) -> bool:
        """Whether zones are cut by a neighbourhood, whose radius then matters."""

    @property
    def guarantee(self) -> Guarantee:
        """What backs the bound."""

    @property
    def reason(self) -> str:
        """Why, in words."""

    def zone(self, reference: Floats, radius: float) -> CentredZone:
        """The zone around `reference`, complete, with a neighbourhood of half-side `radius` (may be infinite)."""
