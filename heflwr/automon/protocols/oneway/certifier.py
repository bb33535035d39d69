"""What the one-way coordinator asks of geometry: zones of drifts, and the range of f over one around any centre."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from heflwr.automon.answer import Guarantee
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats

Range = tuple[float, float]


class Certifier(Protocol):
    """Makes zones and certifies them; see docs/automon.md for why what it certifies is so."""

    longest: float
    """The longest way of a node from report to report of late; the coordinator sets it."""

    @property
    def guarantee(self) -> Guarantee:
        """What backs the bound."""

    @property
    def reason(self) -> str:
        """Why, in words."""

    def zone(self, centre: Floats) -> DriftZone:
        """A zone around `centre`, shape (d,), complete."""

    def adopt(self, zone: DriftZone, centre: Floats) -> None:
        """`zone`, the last that was made, around `centre`, is the present one from now on."""

    def range(self, centre: Floats) -> Range | None:
        """The lowest and the highest f over centre + the present zone; None if they are more than two bounds apart."""

    def learn(self, ways: list[Floats], reports: int, nodes: int) -> None:
        """Weighs the reports since the last zone, and their ways, against the `nodes` messages that a new one costs."""
