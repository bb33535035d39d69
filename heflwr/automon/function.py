"""The monitored function: its value and derivatives for a coordinator, and a plain NumPy form for the nodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heflwr.automon.backends import AutogradBackend, Backend, GivenBackend, JaxBackend
from heflwr.automon.box import Box
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.program import Program

if TYPE_CHECKING:
    from heflwr.automon.forms import Form

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Shape = Literal["convex", "concave"]


class Function:
    """f: from a vector of shape (dim,) to one number, with everything that monitoring it takes; float64 throughout.

    Args:
        fn: A function of one vector that JAX can trace (or autograd; or any function, where derivatives are given).
        dim: Size of the vector, >= 1.
        domain: Where f is defined and the vectors are; None for everywhere.
        backend: "jax" or "autograd"; not consulted where derivatives are given.
        gradient: From a vector to its gradient; together with `hessian`.
        hessian: From a vector to its Hessian, or the Hessian itself where it is constant; together with `gradient`.
        numpy: fn in NumPy, for the nodes; needed only where the backend's own form cannot be had or is too slow.
        shape: "convex" or "concave", where the caller knows that f is one on its domain and the jaxpr cannot show it.
        separable: The caller knows that f is a sum of functions of one coordinate each.

    Nothing is imported, traced or compiled before it is asked for. A node that asks for `numpy` alone, of a function
    with numpy= or with given derivatives, or that was sent the `program`, never loads JAX.
    """

    def __init__(
        self,
        fn: Callable[[Any], Any],
        dim: int,
        domain: Box | None = None,
        *,
        backend: str = "jax",
        gradient: Callable[[Any], ArrayLike] | None = None,
        hessian: Callable[[Any], ArrayLike] | ArrayLike | None = None,
        numpy: Callable[[Any], Any] | None = None,
        shape: Shape | None = None,
        separable: bool = False,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"fn must be a function of one vector, got {fn!r}")
        if dim < 1:
            raise ValueError(f"dim must be >= 1, got {dim}")
        if domain is not None and not isinstance(domain, Box):
            raise TypeError(f"domain must be a Box or None, got {domain!r}; write Box(lower, upper)")
        if domain is not None and domain.dim != dim:
            raise ValueError(f"domain must have {dim} coordinates as the function has, got {domain.dim}")
        if backend not in {"jax", "autograd"}:
            raise ValueError(f"backend must be 'jax' or 'autograd', got {backend!r}")
        if (gradient is None) != (hessian is None):
            raise ValueError("gradient and hessian must be given together: one was, the other was not")
        if hessian is not None and not callable(hessian) and np.shape(hessian) != (dim, dim):
            raise ValueError(f"a constant hessian must have shape {(dim, dim)}, got {np.shape(hessian)}")
        if shape not in {"convex", "concave", None}:
            raise ValueError(f"shape must be 'convex', 'concave' or None, got {shape!r}")
        self.dim = dim
        self.domain = domain
        self.claimed_shape = shape
        self.is_separable = separable
        self.form: Form | None = None
        self._given = numpy
        self._backend: Backend
        if gradient is not None and hessian is not None:
            self._backend = GivenBackend(fn, gradient, hessian)
        elif backend == "jax":
            self._backend = JaxBackend(fn, dim)
        else:
            self._backend = AutogradBackend(fn)

    @classmethod
    def of(cls, form: Form) -> Function:
        """Return the function of a form, such as a ratio: f, its derivatives and its exact zone in closed form."""
        function = cls(form.value, form.dim, gradient=form.gradient, hessian=form.hessian)
        function.form = form
        return function

    def value(self, x: ArrayLike) -> float:
        """Return f(x)."""
        return self._backend.value(self._vector(x))

    def values(self, rows: ArrayLike) -> Vector:
        """Return f of every row, shape (n,), for rows of shape (n, dim)."""
        return self._backend.values(self._matrix(rows))

    def gradient(self, x: ArrayLike) -> Vector:
        """Return the gradient at x, shape (dim,)."""
        return self._backend.gradient(self._vector(x))

    def hessian(self, x: ArrayLike) -> Matrix:
        """Return the Hessian at x, shape (dim, dim)."""
        return self._backend.hessian(self._vector(x))

    def hvp(self, x: ArrayLike, v: ArrayLike) -> Vector:
        """Return the Hessian at x times v, shape (dim,), without forming it."""
        return self._backend.hvp(self._vector(x), self._vector(v))

    def hessians(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Return the Hessian at every row, shape (n, dim, dim)."""
        return self._backend.hessians(self._matrix(rows))

    def hvps(self, rows: ArrayLike, directions: ArrayLike) -> Matrix:
        """Return the Hessian at every row times its direction, shape (n, dim)."""
        return self._backend.hvps(self._matrix(rows), self._matrix(directions))

    def curvatures(self, rows: ArrayLike, directions: ArrayLike) -> tuple[Vector, Matrix]:
        """Return v'H(x)v for every row x and its direction v, shape (n,), and its gradient by x, shape (n, dim)."""
        return self._backend.curvatures(self._matrix(rows), self._matrix(directions))

    @cached_property
    def numpy(self) -> Callable[[Vector], float]:
        """F as nodes evaluate it, without JAX: a callable of one float64 vector of shape (dim,).

        The callable given as numpy=, else the `program` of a traced function, else fn itself.

        Raises:
            UnsupportedFunction: It uses a primitive that the program has no NumPy counterpart of.
        """
        if self._given is None:
            return self._backend.program()
        given = self._given
        return lambda x: float(given(x))

    @property
    def program(self) -> Program:
        """F as data: NumPy calls that can be sent to a node that has neither JAX nor fn.

        Raises:
            UnsupportedFunction: fn was not traced by JAX, or uses a primitive without a NumPy counterpart.
        """
        program = self._given if isinstance(self._given, Program) else self._backend.program()
        if not isinstance(program, Program):
            raise UnsupportedFunction("only a function traced by JAX becomes a program: give the nodes fn or numpy=")
        return program

    @property
    def is_constant_hessian(self) -> bool:
        """Whether the Hessian is proved to be the same everywhere.

        By the jaxpr, of which f is a polynomial of degree <= 2, or by a given hessian that is a matrix. autograd
        proves nothing.
        """
        return self._backend.is_constant_hessian

    @property
    def is_linear(self) -> bool:
        """Whether f is proved to be a linear function plus a constant, in the same way."""
        return self._backend.is_linear

    @property
    def is_smooth(self) -> bool:
        """Whether the jaxpr shows no kink (abs, max, a choice by x), where the Hessian hides an infinite curvature.

        Functions of the other backends are taken to be smooth.
        """
        return self._backend.is_smooth

    def proved_shape(self, *, on_domain: bool) -> Shape | None:
        """Return the shape that the jaxpr proves f to have on its domain, or wherever f is a number; else None."""
        lower, upper = np.full(self.dim, -np.inf), np.full(self.dim, np.inf)
        if on_domain and self.domain is not None:
            lower, upper = self.domain.lower, self.domain.upper
        return self._backend.shape(lower, upper)

    def _vector(self, x: ArrayLike) -> Vector:
        vector = np.asarray(x, dtype=np.float64)
        if vector.shape != (self.dim,):
            raise ValueError(f"a vector must have shape {(self.dim,)}, got {vector.shape}")
        return vector

    def _matrix(self, rows: ArrayLike) -> Matrix:
        matrix = np.asarray(rows, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != self.dim:
            raise ValueError(f"rows must have shape (n, {self.dim}), got {matrix.shape}")
        return matrix


def check_function(function: object) -> None:
    """Check that what is to be monitored is a Function.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(function, Function):
        hint = "take its .function" if isinstance(getattr(function, "function", None), Function) else WRAP
        raise TypeError(f"function must be a heflwr.automon.Function, got {function!r}: {hint}")


WRAP = "write Function(f, dim=...) of it"
