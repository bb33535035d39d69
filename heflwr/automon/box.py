"""Axis-parallel boxes: the domain of a function and the neighbourhood of a reference point are both one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Box:
    """All x with lower <= x <= upper, coordinate by coordinate.

    Args:
        lower: Shape (dim,); -inf where there is no bound.
        upper: Shape (dim,), nowhere less than `lower`; inf where there is no bound.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    def __post_init__(self) -> None:
        lower, upper = _vector(self.lower, "lower"), _vector(self.upper, "upper")
        if lower.shape != upper.shape:
            raise ValueError(f"lower and upper must have one shape, got {lower.shape} and {upper.shape}")
        if not (lower <= upper).all():
            at = int(np.argmin(lower <= upper))
            raise ValueError(f"lower must be <= upper, got [{lower[at]}, {upper[at]}] at coordinate {at}")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    @classmethod
    def around(cls, x: ArrayLike, radius: ArrayLike) -> Box:
        """Return the box of all points within `radius` (one number, or one a coordinate; >= 0) of x, shape (dim,)."""
        centre, reach = _vector(x, "x"), np.asarray(radius, dtype=np.float64)
        if not (reach >= 0).all():
            raise ValueError(f"radius must be >= 0, got {reach}")
        return cls(centre - reach, centre + reach)

    @property
    def dim(self) -> int:
        """How many coordinates it bounds."""
        return self.lower.size

    @property
    def is_bounded(self) -> bool:
        """Whether every coordinate has both bounds."""
        return bool(np.isfinite(self.lower).all() and np.isfinite(self.upper).all())

    def contains(self, x: NDArray[np.float64]) -> bool:
        """Return whether x, shape (dim,), is inside or on the border; a point with a NaN never is."""
        return bool(np.count_nonzero((x >= self.lower) & (x <= self.upper)) == x.size)  # in less time than all()

    def intersect(self, other: Box) -> Box:
        """Return the box of the points that are in both.

        Raises:
            ValueError: They have no point in common, or not the same number of coordinates.
        """
        if other.dim != self.dim:
            raise ValueError(f"boxes must have one dim to intersect, got {self.dim} and {other.dim}")
        lower, upper = np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper)
        if not (lower <= upper).all():
            raise ValueError(f"the boxes do not meet at coordinate {int(np.argmin(lower <= upper))}")
        return Box(lower, upper)

    def clip(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the point of the box nearest to x; x has shape (dim,) or (n, dim)."""
        return np.minimum(np.maximum(x, self.lower), self.upper)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Box):
            return NotImplemented
        return np.array_equal(self.lower, other.lower) and np.array_equal(self.upper, other.upper)

    __hash__ = None  # type: ignore[assignment]  # compared by value, and arrays have no hash


def _vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a read-only copy of `values` as a vector, or raise ValueError."""
    vector = np.array(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be a vector of shape (dim,), got shape {vector.shape}")
    if np.isnan(vector).any():
        raise ValueError(f"{name} must not contain NaN, got {vector}")
    vector.flags.writeable = False
    return vector
