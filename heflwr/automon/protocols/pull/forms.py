"""Outlines of the functions with a form of their own: ratios, moments, increasing functions, quantiles."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Guarantee
from heflwr.automon.forms import CoefficientOfVariation, Increasing, JainFairness, Quantile, Ratio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heflwr.automon.protocols.pull.outline import Range
    from heflwr.automon.protocols.pull.spread import Spread
    from heflwr.automon.zones.zone import Floats


class RatioOutline:
    """f = N/D: with N, D moved by a and b, (N + a) / (D + b) - f = (a - f b) / (D + b), and D + b > 0."""

    guarantee = Guarantee.EXACT
    is_exact = False
    reason = "f is a ratio of linear functions with a positive denominator"

    def __init__(self, form: Ratio) -> None:
        self._form = form

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        return np.asarray(self._form.denominator != 0)

    def cuts(self, centre: Floats, error_bound: float) -> tuple[Floats, Floats]:
        """Both sides of a - f b."""
        below = float(self._form.denominator @ centre) + self._form.denominator_offset
        return _both(self._row(self._form.value(centre)), error_bound * below)

    def range(self, centre: Floats, spread: Spread) -> Range:
        """See the class."""
        value = self._form.value(centre)
        below = float(self._form.denominator @ centre) + self._form.denominator_offset
        least = below - spread.support(-self._form.denominator)
        if not least > 0 or value != value:
            return -inf, inf
        row = self._row(value)
        return value - spread.support(-row) / least, value + spread.support(row) / least

    def _row(self, value: float) -> Floats:
        row: Floats = self._form.numerator - value * self._form.denominator
        return row


class MomentsOutline:
    """f depends on y = s / m^2 alone, m > 0: with m, s moved by a and b, y moves by (b - 2 y m a - y a^2) / (m + a)^2.

    Args:
        form: The coefficient of variation sqrt(y - 1), or Jain's fairness 1 / y.
    """

    guarantee = Guarantee.EXACT
    is_exact = False
    reason = "f depends on the ratio of the mean square to the squared mean alone, which is bounded in closed form"

    def __init__(self, form: CoefficientOfVariation | JainFairness) -> None:
        self._form = form

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        return np.array([True, False])

    def cuts(self, centre: Floats, error_bound: float) -> tuple[Floats, Floats]:
        """Both sides of b - 2 y m a, as deep as f may go up or down, whichever is less."""
        mean = float(centre[0])
        ratio = float(centre[1]) / mean**2 if mean > 0 else np.nan
        if not ratio > 0:
            return _both(np.array([0.0, 1.0]), 0.0)
        value = self._form.value(centre)
        ends = [self._inverse(value + side * error_bound) for side in (-1, 1)]
        room = min((abs(end - ratio) for end in ends if end is not None), default=inf)
        return _both(np.array([-2 * ratio * mean, 1.0]), room * mean**2)

    def range(self, centre: Floats, spread: Spread) -> Range:
        """See the class."""
        mean, reach = float(centre[0]), float(spread.reach[0])
        if not mean - reach > 0:
            return -inf, inf
        ratio, least = float(centre[1]) / mean**2, (mean - reach) ** 2
        row = np.array([-2 * ratio * mean, 1.0])
        low = ratio - (spread.support(-row) + ratio * reach**2) / least
        high = ratio + spread.support(row) / least
        ends = self._link(max(low, 1.0)), self._link(max(high, 1.0))  # s >= m^2 for every fleet
        return min(ends), max(ends)

    def _link(self, ratio: float) -> float:
        return sqrt(ratio - 1) if isinstance(self._form, CoefficientOfVariation) else 1 / ratio

    def _inverse(self, value: float) -> float | None:
        """The ratio at which f has a value; None where it has it nowhere."""
        if isinstance(self._form, CoefficientOfVariation):
            return 1 + value * value if value >= 0 else None
        return 1 / value if 0 < value <= 1 else None


class IncreasingOutline:
    """f = link(x[0]), increasing: its range is between the links of the ends."""

    guarantee = Guarantee.EXACT
    is_exact = False
    reason = Increasing.reason

    def __init__(self, form: Increasing) -> None:
        self._form = form

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        return np.array([False])

    def cuts(self, centre: Floats, error_bound: float) -> tuple[Floats, Floats]:
        """The ends of the interval."""
        value = self._form.value(centre)
        up = self._form.inverse(value + error_bound) - float(centre[0])
        down = float(centre[0]) - self._form.inverse(value - error_bound)
        return np.array([[1.0], [-1.0]]), np.array([up, down])

    def range(self, centre: Floats, spread: Spread) -> Range:
        """See the class."""
        low = self._form.link(float(centre[0]) - spread.support(np.array([-1.0])))
        high = self._form.link(float(centre[0]) + spread.support(np.array([1.0])))
        return (low if low == low else -inf), (high if high == high else inf)


class QuantileOutline:
    """The first bin up to which the histogram holds its share is linear in x: see `Quantile`."""

    guarantee = Guarantee.EXACT
    is_exact = True
    reason = Quantile.reason

    def __init__(self, form: Quantile) -> None:
        self._form = form

    def bent(self, centre: Floats) -> NDArray[np.bool_]:
        return np.zeros(self._form.dim, dtype=bool)

    def cuts(self, centre: Floats, error_bound: float) -> tuple[Floats, Floats]:
        """The half-spaces of the admissible region."""
        zone = self._form.zone(centre, error_bound)
        return zone.normals, zone.room

    def range(self, centre: Floats, spread: Spread) -> Range:
        """From the first bin that may be reached to the first that is reached for certain."""
        form, index = self._form, np.arange(self._form.dim)
        at = form.bin(centre)
        if at < 0:
            return -inf, inf
        share, margin = form.q - TIE, ROUNDING * float(np.abs(centre).sum())

        def held(last: int) -> Floats:
            return np.asarray((index <= last) - share, dtype=np.float64)

        low = high = at
        while low > 0 and float(held(low - 1) @ centre) + spread.support(held(low - 1)) >= -margin:
            low -= 1
        while high < form.dim - 1 and float(held(high) @ centre) - spread.support(-held(high)) < margin:
            high += 1
        return float(form.centres[low]), float(form.centres[high])


def _both(row: Floats, depth: float) -> tuple[Floats, Floats]:
    return np.array([row, -row]), np.array([depth, depth])


TIE = 1e-9
"""As `Quantile` has it."""

ROUNDING = 1e-13
"""Share of the total that a sum of bins may be off by; less than the margin that `Quantile.zone` keeps."""
