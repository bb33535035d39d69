"""autograd: functions written with autograd.numpy, where JAX cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heflwr.automon.backends.backend import Matrix, Vector
from heflwr.automon.errors import BackendUnavailable


class AutogradBackend:
    """A function that autograd can tape: from a vector of shape (dim,) to a number, written with autograd.numpy."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self._fn = fn

    def value(self, x: Vector) -> float:
        return float(self._fn(x))

    def values(self, rows: Matrix) -> Vector:
        return np.array([self.value(x) for x in rows], dtype=np.float64)

    def gradient(self, x: Vector) -> Vector:
        return np.array(self._autograd.grad(self._fn)(x))

    def hessian(self, x: Vector) -> Matrix:
        return np.array(self._autograd.hessian(self._fn)(x))

    def hvp(self, x: Vector, v: Vector) -> Vector:
        return np.array(self._autograd.hessian_vector_product(self._fn)(x, v))

    def hessians(self, rows: Matrix) -> NDArray[np.float64]:
        return np.stack([self.hessian(x) for x in rows])

    def hvps(self, rows: Matrix, directions: Matrix) -> Matrix:
        return np.stack([self.hvp(x, v) for x, v in zip(rows, directions, strict=True)])

    def curvatures(self, rows: Matrix, directions: Matrix) -> tuple[Vector, Matrix]:
        product = self._autograd.hessian_vector_product(self._fn)
        dot = self._dot

        def curvature(x: Any, v: Any) -> Any:
            return dot(v, product(x, v))

        answers = [self._autograd.value_and_grad(curvature)(x, v) for x, v in zip(rows, directions, strict=True)]
        return np.array([float(one) for one, _ in answers]), np.stack([np.array(slope) for _, slope in answers])

    def program(self) -> Callable[[Vector], float]:
        return self.value

    @property
    def is_constant_hessian(self) -> bool:
        return False

    @property
    def is_linear(self) -> bool:
        return False

    @property
    def is_smooth(self) -> bool:
        return True

    def shape(self, lower: Vector, upper: Vector) -> None:
        return None

    @cached_property
    def _autograd(self) -> Any:
        try:
            import autograd
        except ImportError as error:
            raise BackendUnavailable("the backend 'autograd' needs autograd: pip install autograd") from error
        return autograd

    @cached_property
    def _dot(self) -> Any:
        import autograd.numpy

        return autograd.numpy.dot
