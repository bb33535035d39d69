"""What a function with a known admissible region must be able to say about itself."""

from __future__ import annotations

from typing import Protocol

from heflwr.automon.zones.zone import CentredZone, Floats


class Form(Protocol):
    """A function of a vector of shape (dim,) that brings its own zone."""

    @property
    def dim(self) -> int:
        """Size of the vector."""

    @property
    def reason(self) -> str:
        """Why the zone is exact, in words."""

    def value(self, x: Floats) -> float:
        """F of x; NaN where it is not defined."""

    def gradient(self, x: Floats) -> Floats:
        """The gradient, shape (dim,)."""

    def hessian(self, x: Floats) -> Floats:
        """The Hessian, shape (dim, dim)."""

    def zone(self, reference: Floats, error_bound: float) -> CentredZone:
        """The admissible region |f - f(x0)| <= error_bound around x0, or a convex part of it.

        Raises:
            UnsupportedFunction: f is not defined at x0.
        """
