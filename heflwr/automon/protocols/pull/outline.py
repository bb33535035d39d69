"""What the pull protocol asks of a function: which half-spaces to cut a zone with, and its range over a spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from heflwr.automon.answer import Guarantee
    from heflwr.automon.protocols.pull.spread import Spread
    from heflwr.automon.zones.zone import Floats

Range = tuple[float, float]


class Outline(Protocol):
    """A function as seen from a centre c: how far f can be from f(c) when the mean is at c + u, u in a spread."""

    @property
    def guarantee(self) -> Guarantee:
        """What backs the range."""

    @property
    def reason(self) -> str:
        """Why, in words."""

    @property
    def is_exact(self) -> bool:
        """Whether the cuts alone keep f within its bound, whatever `range` makes of them."""

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        """The coordinates along which f bends, shape (d,): a zone must be bounded there."""

    def cuts(self, centre: Floats, error_bound: float) -> tuple[Floats, Floats]:
        """Rows (k, d), and how deep each may be at most, (k,): a drift with row . u <= depth keeps f within its bound.

        To first order; `range` tells what is true.
        """

    def range(self, centre: Floats, spread: Spread) -> Range:
        """The lowest and the highest f over centre + spread, or beyond; infinite or NaN where they cannot be told."""
