"""What functions of one number make of a value, and maxima and minima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from heflwr.automon.convexity.value import Array, Value


def square(value: Value) -> Value | None:
    """The root of a square is its size."""
    if value.hidden is not None:
        return None
    size, no = absolute(value), np.zeros_like(value.convex)
    return replace(size, lower=size.lower**2, upper=size.upper**2, concave=no, root_convex=size.convex, origin=())


def absolute(value: Value) -> Value:
    """|value|; its concavity and its logarithm's convexity only where it is value itself, or less it."""
    up, down = value.lower >= 0, value.upper <= 0
    low = np.where(up, value.lower, np.where(down, -value.upper, 0.0))
    high = np.maximum(np.abs(value.lower), np.abs(value.upper))
    convex = (value.convex & value.concave) | (value.convex & up) | (value.concave & down)
    concave, no = (value.concave & up) | (value.convex & down), np.zeros_like(up)
    return replace(value, lower=low, upper=high, convex=convex, concave=concave, root_convex=value.root_convex & up,
                   log_convex=value.log_convex & up, origin=(), is_known=False) if up.all() else Value(
        low, high, convex, concave, no, no
    )  # fmt: skip


def on_abs(equation: Any, value: Value) -> Value | None:
    """The size; of what is >= 0, the value itself."""
    is_itself = bool((value.lower >= 0).all()) and (value.hidden is None or value.is_factor)
    return value if is_itself else None if value.hidden is not None else absolute(value)


def on_exp(equation: Any, value: Value) -> Value | None:
    """Convex and increasing; what is hidden becomes a factor."""
    if value.is_factor:
        return None
    no = np.zeros_like(value.convex)
    lower, upper = np.exp(value.lower), np.exp(value.upper)
    hides = value.hidden is not None
    return Value(
        lower, upper, value.convex, no, value.convex, value.convex, (), False, value.hidden, value.times, hides
    )


def on_log(equation: Any, value: Value) -> Value | None:
    """Concave and increasing; a hidden factor becomes a term."""
    if value.hidden is not None and not value.is_factor:
        return None
    no = np.zeros_like(value.convex)
    lower = np.log(np.maximum(value.lower, 0.0))
    return Value(
        lower, np.log(value.upper), value.log_convex, value.concave, no, no, (), False, value.hidden, value.times
    )


def log1p(value: Value) -> Value:
    """Concave and increasing; that of something whose logarithm is convex is convex, for so is 1."""
    no = np.zeros_like(value.convex)
    return Value(
        np.log1p(np.maximum(value.lower, -1.0)), np.log1p(value.upper), value.log_convex, value.concave, no, no
    )


def square_root(value: Value) -> Value:
    """Concave and increasing; not a number below zero."""
    lower, no = np.sqrt(np.maximum(value.lower, 0.0)), np.zeros_like(value.convex)
    is_convex = value.root_convex | value.log_convex
    return Value(lower, np.sqrt(value.upper), is_convex, value.concave, no, value.log_convex)


def sigmoid(function: Callable[[Array], Array], value: Value) -> Value:
    """Increasing, convex below zero and concave above."""
    no = np.zeros_like(value.convex)
    convex, concave = value.convex & (value.upper <= 0), value.concave & (value.lower >= 0)
    return Value(function(value.lower), function(value.upper), convex, concave, no, no)


def power(value: Value, exponent: float) -> Value | None:
    """A constant power, by the side of zero that the value is on."""
    no, up = np.zeros_like(value.convex), value.lower >= 0
    if exponent == 0:
        return None
    if exponent < 0:
        is_positive = value.lower > 0
        convex = value.concave & is_positive
        infinite = np.full(no.shape, np.inf)
        upper = np.where(is_positive, value.lower**exponent, infinite)
        lower = np.where(is_positive, value.upper**exponent, -infinite)
        return Value(lower, upper, convex, no, convex, convex)
    if exponent >= 1 and exponent % 2 == 0:
        size = absolute(value)
        return replace(size, lower=size.lower**exponent, upper=size.upper**exponent, root_convex=size.convex,
                       concave=no, log_convex=no, origin=())  # fmt: skip
    lower, upper = np.where(up, value.lower**exponent, -np.inf), np.where(value.upper >= 0, value.upper**exponent, 0.0)
    if exponent > 1:
        return Value(lower, upper, value.convex & up, no, value.convex & up & (exponent >= 2), no)
    return Value(lower, upper, no, value.concave & up, no, no)


def on_power(equation: Any, value: Value, exponent: Value | None = None) -> Value | None:
    """A power whose exponent is known."""
    if value.hidden is not None or (exponent is not None and not (exponent.is_known and exponent.lower.ndim == 0)):
        return None
    return power(value, float(equation.params["y"] if exponent is None else exponent.lower))


def extreme(combine: Callable[..., Array], equation: Any, *values: Value) -> Value | None:
    """The maximum or minimum, of two values or along axes."""
    if any(value.hidden is not None for value in values):
        return None
    is_largest = combine is np.maximum
    shape = np.broadcast_shapes(*[value.lower.shape for value in values])
    axes = None if len(values) > 1 else tuple(equation.params["axes"])

    def over(field: str, reduce: Callable[..., Array]) -> Array:
        arrays = [getattr(value, field) for value in values]
        if axes is None:
            return np.broadcast_to(reduce(*arrays), shape)
        return np.asarray(reduce.reduce(arrays[0], axis=axes))  # type: ignore[attr-defined]  # they are ufuncs

    bend = over("convex" if is_largest else "concave", np.logical_and)
    no = np.zeros_like(bend)
    log_convex = over("log_convex", np.logical_and) & is_largest
    return Value(
        over("lower", combine), over("upper", combine), bend if is_largest else no, no if is_largest else bend,
        over("root_convex", np.logical_and) & is_largest, log_convex,
    )  # fmt: skip


RULES: dict[str, Callable[..., Value | None]] = {
    "abs": on_abs, "exp": on_exp, "log": on_log, "integer_pow": on_power, "pow": on_power,
    "max": partial(extreme, np.maximum), "min": partial(extreme, np.minimum),
    "reduce_max": partial(extreme, np.maximum), "reduce_min": partial(extreme, np.minimum),
}  # fmt: skip
"""By primitive: the equation and its inputs give the result, None where nothing is known of it."""

ELEMENTWISE: dict[str, Callable[[Value], Value | None]] = {
    "square": square, "sqrt": square_root, "log1p": log1p, "tanh": partial(sigmoid, np.tanh),
    "logistic": partial(sigmoid, lambda x: 0.5 * np.tanh(0.5 * x) + 0.5),
    "rsqrt": lambda value: power(value, -0.5),
}  # fmt: skip
"""By primitive: the input, which hides nothing, gives the result."""
