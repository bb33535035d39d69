"""JAX: one traceable function, derived and compiled once for each thing that is asked of it.

float64 is switched on around each call and nowhere else: another user of JAX in this process keeps its float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from heflwr.automon.backends.backend import Matrix, Vector
from heflwr.automon.convexity import Shape, shape_of
from heflwr.automon.errors import BackendUnavailable, UnsupportedFunction
from heflwr.automon.lowering import lower
from heflwr.automon.program import Program
from heflwr.automon.structure import Structure, structure

_MOST_ROWS = 65_536
"""At so many rows `values` splits its batch: 20 MiB of float64 a register at dim 40."""


class JaxBackend:
    """A function that JAX can trace.

    Args:
        fn: From a vector of shape (dim,) to a scalar.
        dim: Size of the vector.
    """

    def __init__(self, fn: Callable[[Any], Any], dim: int) -> None:
        self._fn = fn
        self._dim = dim
        self._kernels: dict[str, Callable[..., Any]] = {}

    def value(self, x: Vector) -> float:
        return float(self._run("value", x))

    def values(self, rows: Matrix) -> Vector:
        return np.concatenate(
            [self._padded(rows[at : at + _MOST_ROWS]) for at in range(0, len(rows), _MOST_ROWS)] or [np.empty(0)]
        )

    def gradient(self, x: Vector) -> Vector:
        return np.array(self._run("gradient", x))

    def hessian(self, x: Vector) -> Matrix:
        return np.array(self._run("hessian", x))

    def hvp(self, x: Vector, v: Vector) -> Vector:
        return np.array(self._run("hvp", x, v))

    def hessians(self, rows: Matrix) -> NDArray[np.float64]:
        return np.array(self._run("hessians", rows))

    def hvps(self, rows: Matrix, directions: Matrix) -> Matrix:
        return np.array(self._run("hvps", rows, directions))

    def curvatures(self, rows: Matrix, directions: Matrix) -> tuple[Vector, Matrix]:
        curvature, gradient = self._run("curvatures", rows, directions)
        return np.array(curvature), np.array(gradient)

    @cached_property
    def _program(self) -> Program:
        with self._double_precision():
            return lower(self._jaxpr, self._dim)

    def program(self) -> Program:
        return self._program

    @property
    def is_constant_hessian(self) -> bool:
        return self._structure.degree <= 2

    @property
    def is_linear(self) -> bool:
        return self._structure.degree <= 1

    @property
    def is_smooth(self) -> bool:
        return self._structure.is_smooth

    def shape(self, lower: Vector, upper: Vector) -> Shape | None:
        with self._double_precision():
            return shape_of(self._jaxpr, lower, upper)

    @cached_property
    def _jax(self) -> Any:
        try:
            import jax
        except ImportError as error:
            raise BackendUnavailable("the backend 'jax' needs JAX: pip install 'heflwr[automon]'") from error
        return jax

    def _double_precision(self) -> Any:
        if hasattr(self._jax, "enable_x64"):
            return self._jax.enable_x64(True)
        return import_module("jax.experimental").enable_x64(True)  # where older releases of JAX have it

    @cached_property
    def _jaxpr(self) -> Any:
        """The traced function; everything else begins here, so what cannot be traced is said once and well."""
        jax = self._jax
        try:
            with self._double_precision():
                closed = jax.make_jaxpr(self._fn)(np.zeros(self._dim))
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
            raise UnsupportedFunction(
                "JAX cannot trace fn: write it with jax.numpy and without Python branches on the values of x, or give "
                f"gradient= and hessian= ({str(error).splitlines()[0]})"
            ) from error
        shapes = [tuple(out.shape) for out in closed.out_avals]
        if shapes != [()]:
            raise UnsupportedFunction(f"fn must return one scalar, got shapes {shapes}: index or sum them to one")
        return closed

    @cached_property
    def _structure(self) -> Structure:
        return structure(self._jaxpr)

    def _scalar(self, x: Any) -> Any:
        return self._jax.numpy.asarray(self._fn(x), dtype=np.float64)

    def _build(self, name: str) -> Callable[..., Any]:
        jax, scalar = self._jax, self._scalar
        gradient = jax.grad(scalar)

        def hvp(x: Any, v: Any) -> Any:
            return jax.jvp(gradient, (x,), (v,))[1]

        def curvature(x: Any, v: Any) -> Any:
            return v @ hvp(x, v)

        built: dict[str, Callable[..., Any]] = {
            "value": scalar,
            "values": jax.vmap(scalar),
            "gradient": gradient,
            "hessian": jax.jacfwd(gradient),
            "hessians": jax.vmap(jax.jacfwd(gradient)),
            "hvp": hvp,
            "hvps": jax.vmap(hvp),
            "curvatures": jax.vmap(jax.value_and_grad(curvature)),
        }
        return cast(Callable[..., Any], jax.jit(built[name]))

    def _run(self, name: str, *arguments: NDArray[np.float64]) -> Any:
        with self._double_precision():
            kernel = self._kernels.get(name)
            if kernel is None:
                _ = self._jaxpr  # speaks up where fn cannot be traced
                kernel = self._kernels[name] = self._build(name)
            return kernel(*arguments)

    def _padded(self, rows: Matrix) -> Vector:
        """Return the values of the rows; a batch grows to a power of two, so that few sizes are ever compiled."""
        padding = (1 << (len(rows) - 1).bit_length()) - len(rows)
        padded = np.concatenate([rows, np.broadcast_to(rows[-1], (padding, self._dim))]) if padding else rows
        return np.array(self._run("values", padded))[: len(rows)]
