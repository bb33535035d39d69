"""What a node of the one-way protocol checks: how far its local vector has drifted from the anchor it last reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from heflwr.automon.zones.zone import CentredZone, Floats, Kinds, Unfinished, ViolationKind, Zone


@runtime_checkable
class DriftZone(Protocol):
    """A convex set of drifts u = x - anchor that contains 0: nodes that stay in it need not report."""

    is_of_drifts: ClassVar[bool]
    """True; tells it from a zone of local vectors."""

    def violation(self, x: Floats) -> ViolationKind | None:
        """Why the drift x of shape (d,) is outside; None when it is inside."""

    def violations(self, drifts: Floats, values: Any = None) -> Kinds:
        """`violation` for every row of drifts (n, d); 0 where there is none."""

    def scaled(self, weight: float) -> DriftZone:
        """The drifts u with u / weight in this zone; weight > 0."""


@dataclass(frozen=True, eq=False)
class PointZone:
    """The set {0}: every change is reported, and the coordinator knows the mean exactly."""

    is_of_drifts: ClassVar[bool] = True

    def violation(self, x: Floats) -> ViolationKind | None:
        return ViolationKind.SAFE_ZONE if x.any() else None

    def violations(self, drifts: Floats, values: Any = None) -> Kinds:
        """`violation` for every row of drifts (n, d); 0 where there is none."""
        return np.where(drifts.any(axis=1), np.int8(ViolationKind.SAFE_ZONE), np.int8(0))

    def scaled(self, weight: float) -> PointZone:
        """Itself, whatever the weight."""
        return self


@dataclass(frozen=True, eq=False)
class ShiftedZone:
    """The drifts u with reference + u / weight in a convex zone of vectors; 0 < weight < 1."""

    is_of_drifts: ClassVar[bool] = True

    zone: CentredZone
    weight: float

    def finished(self, function: Any, previous: Zone | None) -> ShiftedZone | None:
        """Finishes the zone inside, where it wants to be."""
        if not isinstance(self.zone, Unfinished):
            return self
        inner = self.zone.finished(function, previous.zone if isinstance(previous, ShiftedZone) else None)
        return None if inner is None else ShiftedZone(inner, self.weight)  # type: ignore[arg-type]

    def violation(self, x: Floats) -> ViolationKind | None:
        return self.zone.violation(self.zone.reference + x / self.weight)

    def violations(self, drifts: Floats, values: Any = None) -> Kinds:
        """`violation` for every row of drifts (n, d); 0 where there is none."""
        points = self.zone.reference + drifts / self.weight
        if not self.zone.reads_values:
            return self.zone.violations(points, None)
        return np.array([self.zone.violation(point) or 0 for point in points], dtype=np.int8)

    def scaled(self, weight: float) -> ShiftedZone:
        """The drifts u with u / weight in this zone; weight > 0."""
        return self if weight == 1 else replace(self, weight=weight * self.weight)
