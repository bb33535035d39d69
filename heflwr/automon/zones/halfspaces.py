"""The admissible region itself, where it is a polytope: a few half-spaces around the reference point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from heflwr.automon.zones.zone import Floats, Kinds, ViolationKind


@dataclass(frozen=True, eq=False)
class HalfSpaces:
    """{x: normals (x - x0) <= room}: convex as every intersection of half-spaces, and f is never evaluated.

    What it guarantees is up to who derives it: `heflwr.automon.forms` derives regions that are equivalent to
    lower <= f <= upper, `heflwr.automon.protocols.affine` such that imply it.
    """

    reference: Floats
    """x0, shape (d,)."""
    value: float
    """f(x0), the answer while the mean is inside."""
    normals: Floats
    """(k, d), k >= 0; a row a half-space."""
    room: Floats
    """(k,), >= 0: x0 itself is inside."""

    reads_values: ClassVar[bool] = False

    def violation(self, x: Floats) -> ViolationKind | None:
        inside = (self.normals.dot(x - self.reference) <= self.room).all()
        return None if inside else ViolationKind.SAFE_ZONE

    def violations(self, points: Floats, values: Floats | None = None) -> Kinds:
        """`violation` for every row of points (n, d); 0 where there is none."""
        inside = ((points - self.reference) @ self.normals.T <= self.room).all(axis=1)
        return np.where(inside, np.int8(0), np.int8(ViolationKind.SAFE_ZONE))
