"""The admissible region of f itself, convex or not: a local check that says nothing about the mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, PointFunction, ViolationKind, Zone


@dataclass(frozen=True, eq=False)
class AdmissibleZone:
    """{x: lower <= f(x) <= upper}. Convex only for some f; elsewhere all nodes may be inside and their mean outside."""

    reference: Floats
    """x0, shape (d,)."""
    value: float
    lower: float
    upper: float
    function: Callable[[Floats], float] | None = field(default=None, repr=False)
    """f; the receiver adds its own."""

    reads_values: ClassVar[bool] = True

    def finished(self, function: PointFunction, previous: Zone | None = None) -> AdmissibleZone:
        """Adds f."""
        return replace(self, function=function.numpy)

    def violation(self, x: Floats) -> ViolationKind | None:
        assert self.function is not None
        with np.errstate(all="ignore"):  # outside f's domain there is a NaN, which is a violation
            value = self.function(x)
        return None if self.lower <= value <= self.upper else ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None) -> Kinds:
        """`violation` for every row of points (n, d), f of which is given; 0 where there is none."""
        assert values is not None
        inside = (values >= self.lower) & (values <= self.upper)
        return np.where(inside, np.int8(0), np.int8(ViolationKind.SAFE_ZONE))
