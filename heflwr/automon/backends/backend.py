"""The port: what a monitored function must be able to say about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


class Backend(Protocol):
    """Value and derivatives of one function of a vector, float64 throughout.

    `rows` are of shape (n, dim), and an answer has one row a row. q(x; v) stands for v'H(x)v, H being the Hessian.
    """

    def value(self, x: Vector) -> float: ...

    def values(self, rows: Matrix) -> Vector: ...

    def gradient(self, x: Vector) -> Vector: ...

    def hessian(self, x: Vector) -> Matrix: ...

    def hvp(self, x: Vector, v: Vector) -> Vector:
        """Return H(x) v."""

    def hessians(self, rows: Matrix) -> NDArray[np.float64]:
        """Return the Hessians, shape (n, dim, dim)."""

    def hvps(self, rows: Matrix, directions: Matrix) -> Matrix:
        """Return H(x) v of every row x and its direction v."""

    def curvatures(self, rows: Matrix, directions: Matrix) -> tuple[Vector, Matrix]:
        """Return q(x; v) of every row x and its direction v, and its gradient by x."""

    def program(self) -> Callable[[Vector], float]:
        """Return the function without the backend: what a node runs."""

    @property
    def is_constant_hessian(self) -> bool: ...

    @property
    def is_linear(self) -> bool: ...

    @property
    def is_smooth(self) -> bool:
        """Whether the Hessian tells all of the curvature: no kinks. False where it cannot be known."""

    def shape(self, lower: Vector, upper: Vector) -> Literal["convex", "concave"] | None:
        """Return how f provably bends on the box, whose bounds may be infinite; None where nothing is proved."""
