"""The one-way protocol with any convex zone: drifts get a share of it, the moves of the centre the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heflwr.automon.zones.drift import ShiftedZone

if TYPE_CHECKING:
    from heflwr.automon.answer import Guarantee
    from heflwr.automon.protocols.derivation import Derivation
    from heflwr.automon.protocols.oneway.certifier import Range
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats

FIRST_SHARE = 0.6

LEAST_SHARE = 0.05

STEP = 1.3
"""Largest factor by which the odds of a share change at once."""


class BankCertifier:
    """For any convex zone S: drifts get a share w of it and the moves of the centre, the bank, the rest.

    mean(x) = x0 + B + mean(u) = (1 - w) (x0 + B / (1 - w)) + w mean(x0 + u / w), with B = centre - x0: in S if
    x0 + B / (1 - w) is, and every x0 + u / w.

    Args:
        derivation: Makes S around any reference point x0.
        error_bound: S keeps f within f(x0) +- error_bound.
        radius: Of its neighbourhood; may be infinite.
    """

    def __init__(self, derivation: Derivation, error_bound: float, radius: float) -> None:
        self._derivation = derivation
        self._error_bound = error_bound
        self._radius = radius
        self._share = FIRST_SHARE
        self._shifted: ShiftedZone | None = None
        self.longest = 0.0

    @property
    def guarantee(self) -> Guarantee:
        """What backs the bound."""
        return self._derivation.guarantee

    @property
    def reason(self) -> str:
        """Why, in words."""
        return self._derivation.reason

    def zone(self, centre: Floats) -> ShiftedZone:
        """A zone around `centre`, shape (d,), complete."""
        return ShiftedZone(self._derivation.zone(centre, self._radius), self._share)

    def adopt(self, zone: DriftZone, centre: Floats) -> None:
        """`zone`, the last that was made, around `centre`, is the present one from now on."""
        assert isinstance(zone, ShiftedZone)
        self._shifted = zone

    def range(self, centre: Floats) -> Range | None:
        """The lowest and the highest f over centre + the present zone; None if they are more than two bounds apart."""
        assert self._shifted is not None
        zone = self._shifted.zone
        bank = zone.reference + (centre - zone.reference) / (1 - self._shifted.weight)
        return (
            None
            if zone.violation(bank) is not None
            else (zone.value - self._error_bound, zone.value + self._error_bound)
        )

    def learn(self, ways: list[Floats], reports: int, nodes: int) -> None:
        """Weighs the reports since the last zone against the `nodes` messages that a new one costs."""
        if reports:
            self._share = balanced(self._share, reports, nodes)


def balanced(share: float, reports: float, nodes: int) -> float:
    """The share of the bound that drifts get, moved towards the least messages.

    Reports cost about A share^-p, new zones about B (1 - share)^-p: least where reports * (1 - share) = nodes * share.
    """
    pull = (reports * (1 - share) - nodes * share) / nodes
    odds = share / (1 - share) * STEP ** max(-1.0, min(1.0, pull))
    return float(min(max(odds / (1 + odds), LEAST_SHARE), 1 - LEAST_SHARE))
