"""What a node checks: a convex set of numbers only, and the ways in which a point can be outside it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from heflwr.automon.box import Box

Floats = NDArray[np.float64]
Kinds = NDArray[np.int8]
Indices = NDArray[np.int64]


class ViolationKind(IntEnum):
    """How a point violates a constraint; 0 is left free for "not at all"."""

    SAFE_ZONE = 1
    """Outside the safe zone, or there is no constraint yet."""
    NEIGHBOURHOOD = 2
    """Outside the box in which the constraint's curvature was searched."""
    FAULTY = 3
    """Inside the safe zone although f is past a threshold: the curvature was wrong."""


class PointFunction(Protocol):
    """The part of a monitored function that a node uses: NumPy, never jax."""

    @property
    def domain(self) -> Box | None:
        """Where f is defined; None: everywhere."""

    @property
    def numpy(self) -> Callable[[Floats], float]:
        """F of a vector of shape (d,)."""


class Zone(Protocol):
    """A convex set that contains the reference point; f keeps its bound as long as the mean stays in it."""

    def violation(self, x: Floats) -> ViolationKind | None:
        """Why x of shape (d,) is outside; None when it is inside."""


class CentredZone(Zone, Protocol):
    """A zone around a reference point that can judge many points at once."""

    reads_values: ClassVar[bool]
    """Whether `violations` needs f of the points."""

    @property
    def reference(self) -> Floats:
        """x0, shape (d,); always inside."""

    @property
    def value(self) -> float:
        """The answer while the mean is inside: f(x0)."""

    def violations(self, points: Floats, values: Floats | None) -> Kinds:
        """`violation` for every row of points (n, d), f of which is given if it is read; 0 where there is none."""


@runtime_checkable
class Unfinished(Protocol):
    """A zone as it travels: its receiver adds its own f and what an earlier zone already told it."""

    def finished(self, function: Any, previous: Zone | None) -> Zone | None:
        """The zone ready to check, or None when `previous` lacks what this zone leaves out."""
