"""A ratio of linear functions: its admissible region is two half-spaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.zones.halfspaces import HalfSpaces
from heflwr.automon.zones.zone import Floats

POSITIVE = 1e-9
"""The zone keeps the denominator above this share of what it is at x0, so that 0 / 0 is never inside."""


@dataclass(frozen=True, eq=False)
class Ratio:
    """f(x) = (numerator.x + numerator_offset) / (denominator.x + denominator_offset), where the denominator is > 0.

    With a positive denominator f <= upper means numerator - upper denominator <= 0, which is linear in x; likewise
    lower. Both together imply a denominator >= 0, hence the zone is the admissible region and needs no domain.

    Args:
        numerator: Shape (dim,).
        denominator: Shape (dim,).
        numerator_offset: Added to numerator.x.
        denominator_offset: Added to denominator.x.
    """

    numerator: Floats
    denominator: Floats
    numerator_offset: float = 0.0
    denominator_offset: float = 0.0

    reason = (
        "f is a ratio of linear functions with a positive denominator, so the zone is the admissible region itself: "
        "two half-spaces"
    )

    def __post_init__(self) -> None:
        for name in ("numerator", "denominator"):
            vector = np.array(getattr(self, name), dtype=np.float64)
            if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
                raise ValueError(f"{name} must be a vector of finite numbers, shape (dim,), got {vector}")
            object.__setattr__(self, name, vector)
        if self.numerator.shape != self.denominator.shape:
            raise ValueError(
                f"numerator and denominator must have one shape, got {self.numerator.shape} and "
                f"{self.denominator.shape}"
            )

    @property
    def dim(self) -> int:
        """Size of the vector."""
        return len(self.numerator)

    def value(self, x: Floats) -> float:
        """F of x, shape (dim,); NaN where the denominator is not positive."""
        below = float(self.denominator @ x) + self.denominator_offset
        return (float(self.numerator @ x) + self.numerator_offset) / below if below > 0 else np.nan

    def gradient(self, x: Floats) -> Floats:
        below = float(self.denominator @ x) + self.denominator_offset
        gradient: Floats = (self.numerator - self.value(x) * self.denominator) / below
        return gradient

    def hessian(self, x: Floats) -> Floats:
        below = float(self.denominator @ x) + self.denominator_offset
        half = np.outer(self.gradient(x), self.denominator)
        hessian: Floats = -(half + half.T) / below
        return hessian

    def zone(self, reference: Floats, error_bound: float) -> HalfSpaces:
        """The admissible region around x0."""
        value, below = self.value(reference), float(self.denominator @ reference) + self.denominator_offset
        if not np.isfinite(value):
            raise UnsupportedFunction(
                f"the denominator must be > 0, got {below} at the mean {reference}: leave such vectors out, or add a "
                "denominator_offset"
            )
        rising = self.numerator - (value + error_bound) * self.denominator
        falling = (value - error_bound) * self.denominator - self.numerator
        room = np.full(2, error_bound * below * (1 - POSITIVE))
        return HalfSpaces(reference, value, np.array([rising, falling]), room)
