"""Measures of spread that depend on (mean of v^2) / (mean of v)^2 alone: coefficient of variation, Jain fairness."""

from __future__ import annotations

import numpy as np

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.zones.moments import MomentsZone
from heflwr.automon.zones.zone import Floats

REASON = "{} stays within its bound exactly between two parabolas; the zone is a convex part of that in closed form"


class CoefficientOfVariation:
    """sqrt(s - m^2) / m of x = (m, s), the means of v and of v^2: standard deviation over mean, for m > 0."""

    dim = 2
    reason = REASON.format("the coefficient of variation")

    def value(self, x: Floats) -> float:
        """F of x, shape (2,); NaN where the mean is not positive."""
        mean, square = float(x[0]), float(x[1])
        return float(np.sqrt(max(square - mean * mean, 0.0)) / mean) if mean > 0 else np.nan

    def gradient(self, x: Floats) -> Floats:
        """The gradient; not finite where all v are equal, for f has a kink there."""
        mean, value = float(x[0]), self.value(x)
        with np.errstate(all="ignore"):
            gradient: Floats = np.array([-(1 + value**2) / mean, 0.5 / mean**2]) / np.float64(value)
        return gradient

    def hessian(self, x: Floats) -> Floats:
        mean, value = float(x[0]), self.value(x)
        # f^2 = s / m^2 - 1 = g, hence H(f) = H(g) / 2f - grad f grad f' / f.
        of_square = np.array([[6 * (1 + value**2) / mean**2, -2 / mean**3], [-2 / mean**3, 0.0]])
        slope = self.gradient(x)
        with np.errstate(all="ignore"):
            hessian: Floats = (of_square / 2 - np.outer(slope, slope)) / np.float64(value)
        return hessian

    def zone(self, reference: Floats, error_bound: float) -> MomentsZone:
        """The convex part of the admissible region around x0."""
        value = self.value(reference)
        lower, upper = value - error_bound, value + error_bound
        return _between(reference, value, 1 + lower**2 if lower > 0 else 0.0, 1 + upper**2)


class JainFairness:
    """m^2 / s of x = (m, s), the means of v and of v^2: 1 where all v are equal, 1/n where one node has everything.

    Jain, Chiu, Hawe, "A quantitative measure of fairness", DEC-TR-301, 1984; for m > 0.
    """

    dim = 2
    reason = REASON.format("Jain's fairness")

    def value(self, x: Floats) -> float:
        """F of x, shape (2,); NaN where the mean is not positive."""
        mean, square = float(x[0]), float(x[1])
        return mean * mean / square if mean > 0 and square > 0 else np.nan

    def gradient(self, x: Floats) -> Floats:
        ratio = float(x[0]) / float(x[1])
        return np.array([2 * ratio, -(ratio**2)])

    def hessian(self, x: Floats) -> Floats:
        mean, square = float(x[0]), float(x[1])
        across = -2 * mean / square**2
        return np.array([[2 / square, across], [across, 2 * mean**2 / square**3]])

    def zone(self, reference: Floats, error_bound: float) -> MomentsZone:
        """The convex part of the admissible region around x0."""
        value = self.value(reference)
        lower, upper = value - error_bound, value + error_bound
        # No fleet is fairer than 1 or less fair than 0: there is no parabola to keep to.
        return _between(reference, value, 1 / upper if upper < 1 else 0.0, 1 / lower if lower > 0 else np.inf)


def _between(reference: Floats, value: float, floor: float, ceiling: float) -> MomentsZone:
    """The zone between floor m^2 and the tangent of ceiling m^2 at x0."""
    if not np.isfinite(value):
        raise UnsupportedFunction(f"the mean of v must be > 0, got the means of v and v^2 {reference}")
    mean = float(reference[0])
    if not np.isfinite(ceiling):
        return MomentsZone(reference, value, floor, 0.0, np.inf)
    return MomentsZone(reference, value, floor, 2 * ceiling * mean, -ceiling * mean * mean)
