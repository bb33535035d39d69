"""Derivatives that the caller wrote: nothing is traced, and nothing but NumPy is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heflwr.automon.backends.backend import Matrix, Vector

_STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
"""Relative step of a central difference: where rounding and truncation cost the same."""


class GivenBackend:
    """A NumPy function with its gradient and its Hessian.

    Args:
        fn: From a vector of shape (dim,) to a number.
        gradient: From a vector to its gradient, shape (dim,).
        hessian: From a vector to its Hessian, shape (dim, dim); or the Hessian itself where it is constant.
    """

    def __init__(
        self,
        fn: Callable[[Any], Any],
        gradient: Callable[[Any], ArrayLike],
        hessian: Callable[[Any], ArrayLike] | ArrayLike,
    ) -> None:
        self._fn = fn
        self._gradient = gradient
        self._hessian = hessian if callable(hessian) else None
        self._constant = None if callable(hessian) else np.array(hessian, dtype=np.float64)

    def value(self, x: Vector) -> float:
        return float(self._fn(x))

    def values(self, rows: Matrix) -> Vector:
        return np.array([self.value(x) for x in rows], dtype=np.float64)

    def gradient(self, x: Vector) -> Vector:
        return np.array(self._gradient(x), dtype=np.float64)

    def hessian(self, x: Vector) -> Matrix:
        if self._constant is not None:
            return self._constant.copy()
        assert self._hessian is not None
        return np.array(self._hessian(x), dtype=np.float64)

    def hvp(self, x: Vector, v: Vector) -> Vector:
        product: Vector = self.hessian(x) @ v
        return product

    def hessians(self, rows: Matrix) -> NDArray[np.float64]:
        return np.stack([self.hessian(x) for x in rows])

    def hvps(self, rows: Matrix, directions: Matrix) -> Matrix:
        return np.stack([self.hvp(x, v) for x, v in zip(rows, directions, strict=True)])

    def curvatures(self, rows: Matrix, directions: Matrix) -> tuple[Vector, Matrix]:
        """As the port has it; third derivatives are not given, so the gradient is a central difference."""
        pairs = list(zip(rows, directions, strict=True))
        return (
            np.array([v @ self.hvp(x, v) for x, v in pairs]),
            np.stack([self._slope(x, v) for x, v in pairs]),
        )

    def program(self) -> Callable[[Vector], float]:
        return self.value

    @property
    def is_constant_hessian(self) -> bool:
        return self._constant is not None

    @property
    def is_linear(self) -> bool:
        return self._constant is not None and not self._constant.any()

    @property
    def is_smooth(self) -> bool:
        return True

    def shape(self, lower: Vector, upper: Vector) -> None:
        return None

    def _slope(self, x: Vector, v: Vector) -> Vector:
        slope = np.zeros_like(x)
        for at in range(x.size):
            step = _STEP * max(1.0, abs(x[at]))
            ahead, behind = x.copy(), x.copy()
            ahead[at] += step
            behind[at] -= step
            slope[at] = v @ (self.hvp(ahead, v) - self.hvp(behind, v)) / (ahead[at] - behind[at])
        return slope
