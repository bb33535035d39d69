"""Sums, products with constants, and what else is linear in one of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from heflwr.automon.convexity.curves import power, square
from heflwr.automon.convexity.patterns import entropy_sign, softplus
from heflwr.automon.convexity.value import FIELDS, Array, Value, unknown

MOVES = {
    "broadcast_in_dim", "concatenate", "copy", "copy_p", "expand_dims", "gather", "pad", "reduce_precision", "reshape",
    "rev", "slice", "squeeze", "transpose", "convert_element_type",
}  # fmt: skip


def moved(equation: Any, inputs: list[Value]) -> Value | None:
    """The numbers only change places; what moves together must hide the same."""
    if equation.outvars[0].aval.dtype.kind != "f" or equation.invars[0].aval.dtype.kind != "f":
        return None
    if inputs[0].hidden is not None and equation.primitive.name == "pad":
        return None  # what is padded with does not hide anything
    count = len(inputs) if equation.primitive.name == "concatenate" else 1
    first = inputs[0]
    if any(
        (one.hidden, one.times, one.is_factor) != (first.hidden, first.times, first.is_factor)
        for one in inputs[1:count]
    ):
        return None

    def move(field: str) -> Array:
        arrays = [np.asarray(getattr(one, field), dtype=np.float64) for one in inputs[:count]]
        operands = arrays + [one.lower for one in inputs[count:]]
        moved = np.asarray(equation.primitive.bind(*operands, **equation.params))
        return moved if field in ("lower", "upper") else moved > 0

    return replace(first, **{field: move(field) for field in FIELDS}, origin=(), is_known=False)  # type: ignore[arg-type]


def linear(apply: Callable[[Array, Array], Array], value: Value, constant: Array) -> Value | None:
    """What apply(value, constant), linear in each, is; the constant is known."""
    if value.hidden is not None and not value.is_factor:
        return None
    positive, negative = np.maximum(constant, 0.0), np.maximum(-constant, 0.0)

    def total(of_positive: Array, of_negative: Array) -> Array:
        parts = (of_positive, positive), (of_negative, negative)
        first, second = (np.asarray(apply(np.asarray(one, dtype=np.float64), sign)) for one, sign in parts)
        both: Array = first + second
        return both

    def bound(low: Array, high: Array) -> Array:
        """What is positive times low less what is negative times high; an infinity that counts at all wins."""
        is_infinite = total(~np.isfinite(low), ~np.isfinite(high)) > 0
        finite = total(np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), -high, 0.0))
        return np.where(is_infinite, -np.inf, finite)

    every = np.ones_like(value.lower, dtype=np.float64)
    return replace(
        value,
        lower=bound(value.lower, value.upper),
        upper=-bound(-value.upper, -value.lower),
        convex=total(~value.convex, ~value.concave) == 0,
        concave=total(~value.concave, ~value.convex) == 0,
        root_convex=total(~value.root_convex, every) == 0,
        log_convex=(total(~value.log_convex, every) == 0) & (total(every, 0 * every) > 0),
        origin=(),
        is_known=False,
    )


def on_add(equation: Any, left: Value, right: Value) -> Value | None:
    """A sum bends as both parts do, if they hide nothing or the same."""
    pattern = softplus(left, right) or softplus(right, left)
    if pattern is not None:
        return pattern
    hidden = left.hidden if left.hidden is not None else right.hidden
    times, is_factor = 0, False
    if left.is_factor or right.is_factor:
        if (left.hidden, left.times, left.is_factor) != (right.hidden, right.times, right.is_factor):
            return None
        times, is_factor = left.times, True
    elif hidden is not None:
        if None not in (left.hidden, right.hidden) and left.hidden is not right.hidden:
            return None
        times = left.times + right.times
    is_plain = hidden is None or is_factor
    return Value(
        lower=left.lower + right.lower,
        upper=left.upper + right.upper,
        convex=left.convex & right.convex,
        concave=left.concave & right.concave,
        root_convex=left.root_convex & right.root_convex & is_plain,
        log_convex=left.log_convex & right.log_convex & is_plain,
        hidden=hidden if times else None,
        times=times,
        is_factor=is_factor,
    )


def on_neg(equation: Any, value: Value) -> Value:
    """What was convex is concave."""
    no = np.zeros_like(value.convex)
    times = value.times if value.is_factor else -value.times
    return replace(
        value, lower=-value.upper, upper=-value.lower, convex=value.concave, concave=value.convex, root_convex=no,
        log_convex=no, origin=(), times=times, is_known=False,
    )  # fmt: skip


def on_sub(equation: Any, left: Value, right: Value) -> Value | None:
    """A sum with what is negative."""
    return on_add(equation, left, on_neg(equation, right))


def on_reduce_sum(equation: Any, value: Value) -> Value | None:
    """A product with ones, summed."""
    axes = tuple(equation.params["axes"])
    return linear(lambda array, one: (array * one).sum(axis=axes), value, np.ones_like(value.lower, dtype=np.float64))


def on_mul(equation: Any, left: Value, right: Value) -> Value | None:
    """A product with a constant is linear; of two that vary, squares and u log u are recognised."""
    if left.is_known:
        left, right = right, left
    if right.is_known:
        return linear(np.multiply, left, right.lower)
    if left is right:
        return square(left)
    if left.hidden is not None or right.hidden is not None:
        return None
    log_convex = left.log_convex & right.log_convex
    corners = np.array([a * b for a in (left.lower, left.upper) for b in (right.lower, right.upper)])
    sign = entropy_sign(left, right) or entropy_sign(right, left)
    every = np.ones_like(log_convex)
    return Value(
        corners.min(axis=0), corners.max(axis=0), log_convex | (every & (sign > 0)), every & (sign < 0), log_convex,
        log_convex,
    )  # fmt: skip


def on_dot_general(equation: Any, left: Value, right: Value) -> Value | None:
    """A product with a constant is linear; that of two vectors is a sum of products."""
    bind = partial(equation.primitive.bind, **equation.params)
    if right.is_known:
        return linear(bind, left, np.asarray(right.lower, dtype=np.float64))
    if left.is_known:
        return linear(lambda array, constant: bind(constant, array), right, np.asarray(left.lower, dtype=np.float64))
    if equation.outvars[0].aval.shape != () or left.lower.ndim != 1:
        return None  # only that of two vectors is written as a sum of products here
    product = on_mul(equation, left, right)
    return (
        None if product is None else linear(lambda array, one: (array * one).sum(), product, np.ones(left.lower.size))
    )


def on_div(equation: Any, above: Value, below: Value) -> Value | None:
    """By a constant: linear. Of a constant: a power. A square over something concave and positive is convex."""
    if below.is_known:
        return linear(np.multiply, above, 1.0 / np.asarray(below.lower, dtype=np.float64))
    if below.hidden is not None or above.hidden is not None:
        return None
    if above.is_known:
        inverse = power(below, -1.0)
        return None if inverse is None else linear(np.multiply, inverse, np.asarray(above.lower, dtype=np.float64))
    return replace(unknown(equation.outvars[0]), convex=above.root_convex & below.concave & (below.lower > 0))


RULES: dict[str, Callable[..., Value | None]] = {
    "add": on_add, "add_any": on_add, "sub": on_sub, "neg": on_neg, "reduce_sum": on_reduce_sum, "mul": on_mul,
    "div": on_div, "dot_general": on_dot_general,
}  # fmt: skip
"""By primitive: the equation and its inputs give the result, None where nothing is known of it."""
