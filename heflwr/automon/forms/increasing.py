"""An increasing function of one coordinate: its admissible region is an interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.zones.halfspaces import HalfSpaces
from heflwr.automon.zones.zone import Floats


@dataclass(frozen=True, eq=False)
class Increasing:
    """f(x) = link(x[0]), strictly increasing: lower <= f <= upper is inverse(lower) <= x[0] <= inverse(upper).

    Args:
        link: From a number to a number, NaN where it is not defined.
        inverse: Its inverse; -inf or inf for values that link never reaches.
        slope: Its derivative.
        bend: Its second derivative.
    """

    link: Callable[[float], float]
    inverse: Callable[[float], float]
    slope: Callable[[float], float]
    bend: Callable[[float], float]

    dim = 1
    reason = "f is an increasing function of one number, so the zone is the admissible region itself: an interval"

    def value(self, x: Floats) -> float:
        """F of x, shape (1,)."""
        return float(self.link(float(x[0])))

    def gradient(self, x: Floats) -> Floats:
        return np.array([self.slope(float(x[0]))], dtype=np.float64)

    def hessian(self, x: Floats) -> Floats:
        return np.array([[self.bend(float(x[0]))]], dtype=np.float64)

    def zone(self, reference: Floats, error_bound: float) -> HalfSpaces:
        """The interval around x0."""
        value = self.value(reference)
        if not np.isfinite(value):
            raise UnsupportedFunction(f"f must be a number at the mean {reference}, got {value}")
        room = [self.inverse(value + error_bound) - reference[0], reference[0] - self.inverse(value - error_bound)]
        return HalfSpaces(reference, value, np.array([[1.0], [-1.0]]), np.maximum(np.array(room), 0.0))
