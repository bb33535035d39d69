"""What a jaxpr proves about its function: the degree of the polynomial that it is, and whether it has kinks.

A function of degree at most 2 has a constant Hessian: a proof, where equal Hessians at some random points are luck.
|x0| - |x1| has equal Hessians almost everywhere, and a kink that no Hessian shows; hence the second question.
The answers err on one side only: a polynomial may be missed, a kink may be suspected where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heflwr.automon.lowering import INLINED


@dataclass(frozen=True)
class Structure:
    """What is known of one value as a function of the input.

    Args:
        degree: Total degree of the polynomial that it is; inf if none is known.
        is_smooth: Whether it is twice continuously differentiable wherever it is defined.
        is_nonnegative: Whether it can be seen to be >= 0.
    """

    degree: float
    is_smooth: bool = True
    is_nonnegative: bool = False


INPUT = Structure(1.0)

_MOVES = {
    "broadcast_in_dim", "concatenate", "copy", "copy_p", "expand_dims", "gather", "dynamic_slice", "pad", "reshape",
    "rev", "slice", "split", "squeeze", "stack", "tile", "transpose", "dynamic_update_slice", "scatter",
    "reduce_precision",
}  # fmt: skip
_SUMS = {"add", "add_any", "sub", "neg", "reduce_sum", "cumsum", "convert_element_type", "scatter-add", "scatter_add"}
_PRODUCTS = {"mul", "dot_general"}
_SMOOTH = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "cumlogsumexp", "cumprod", "div",
    "erf", "erfc", "exp", "exp2", "expm1", "integer_pow", "lgamma", "digamma", "log", "log1p", "logistic", "pow",
    "reduce_prod", "rsqrt", "sin", "sinh", "sqrt", "square", "tan", "tanh", "triangular_solve", "cholesky",
} | _MOVES | _SUMS | _PRODUCTS  # fmt: skip
_NONNEGATIVE = {"abs", "acosh", "cosh", "exp", "exp2", "logistic", "rsqrt", "sqrt", "square"}
_KEEP_SIGN = {"add", "add_any", "mul", "div", "reduce_sum", "cumsum", "dot_general", "reduce_max", "reduce_min", "max",
              "min", "reduce_prod", "convert_element_type"} | _MOVES  # fmt: skip


def structure(closed: Any) -> Structure:
    """Return what the closed jaxpr of a function of one vector proves about its value."""
    return _walk(closed, [INPUT])[0]


def _constant(array: Any) -> Structure:
    values = np.asarray(array)
    return Structure(0.0, is_nonnegative=values.dtype.kind in "biuf" and bool((values >= 0).all()))


def _walk(closed: Any, arguments: Sequence[Structure]) -> list[Structure]:
    jaxpr, constants = (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())
    known: dict[Any, Structure] = {}
    known.update(zip(jaxpr.constvars, map(_constant, constants), strict=True))
    known.update(zip(jaxpr.invars, arguments, strict=True))

    def look(atom: Any) -> Structure:
        return _constant(atom.val) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        inputs = [look(atom) for atom in equation.invars]
        if equation.primitive.name in INLINED:
            results = _walk(equation.params[INLINED[equation.primitive.name]], inputs)
        else:
            results = [_after(equation, inputs)] * len(equation.outvars)
        known.update(zip(equation.outvars, results, strict=True))
    return [look(atom) for atom in jaxpr.outvars]


def _after(equation: Any, inputs: list[Structure]) -> Structure:
    """Return what a primitive makes of its inputs."""
    name = equation.primitive.name
    is_nonnegative = name in _NONNEGATIVE or (name in _KEEP_SIGN and all(one.is_nonnegative for one in inputs))
    if name == "integer_pow" and equation.params["y"] % 2 == 0:
        is_nonnegative = True
    degree = _degree(equation, inputs)
    if degree == 0:
        return Structure(0.0, is_nonnegative=is_nonnegative)
    if name == "stop_gradient":
        # Derivatives take it for a constant. It is none, but what autodiff is told is that its kinks do not matter:
        # logsumexp subtracts a maximum so, and does not depend on it.
        return replace(inputs[0], degree=math.inf, is_smooth=True)
    if name == "abs" and inputs[0].is_nonnegative:
        return inputs[0]
    if name == "select_n" and inputs[0].degree == 0:
        is_smooth = all(one.is_smooth for one in inputs)
        return Structure(degree, is_smooth, all(one.is_nonnegative for one in inputs[1:]))
    return Structure(degree, name in _SMOOTH and all(one.is_smooth for one in inputs), is_nonnegative)


def _degree(equation: Any, inputs: list[Structure]) -> float:
    name, degrees = equation.primitive.name, [one.degree for one in inputs]
    if not any(degrees):
        return 0.0
    if name in _SUMS or name in _MOVES or (name == "select_n" and degrees[0] == 0):
        # Indices say where, not how much: they must not depend on the input.
        integer = [d for d, atom in zip(degrees, equation.invars, strict=True) if atom.aval.dtype.kind != "f"]
        out_is_float = equation.outvars[0].aval.dtype.kind == "f"
        return max(degrees) if out_is_float and not any(integer) else math.inf
    if name in _PRODUCTS:
        return sum(degrees)
    if name == "square":
        return 2 * degrees[0]
    if name == "div":
        return degrees[0] if degrees[1] == 0 else math.inf
    if name == "integer_pow":
        exponent = equation.params["y"]
        return exponent * degrees[0] if exponent >= 0 else math.inf
    if name == "pow":
        exponent = getattr(equation.invars[1], "val", None)
        is_power = exponent is not None and np.ndim(exponent) == 0 and float(exponent).is_integer() and exponent >= 0
        return float(exponent) * degrees[0] if is_power else math.inf  # type: ignore[arg-type]  # checked just before
    return math.inf
