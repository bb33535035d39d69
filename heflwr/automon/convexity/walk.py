"""What a jaxpr proves about how its function bends: convex, concave, or nothing; disciplined convex programming.

Every value on the way is given a range and a bend, coordinate by coordinate, from those of what it is made of (Grant,
Boyd, Ye, "Disciplined convex programming", 2006): an increasing convex function of something convex is convex, and so
on. A "convex" or "concave" is a proof; None says only that these rules do not suffice.

Two notions help to recognise norms and logarithms of sums: a value >= 0 whose root is convex (squares, and sums of
such), and one whose logarithm is convex (exponentials, and sums and products of such; Boyd, Vandenberghe, "Convex
Optimization", 3.5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from heflwr.automon.convexity import curves, linear
from heflwr.automon.convexity.value import FIELDS, Array, Value, identity, known, unknown
from heflwr.automon.lowering import INLINED

Shape = Literal["convex", "concave"]


def shape_of(closed: Any, lower: Array, upper: Array) -> Shape | None:
    """Return how the function of the closed jaxpr provably bends on the box from lower to upper, shapes (dim,).

    Where no use is made of the bounds they may be infinite: then what is proved holds wherever f is a number, and the
    points where it is a number form a convex set.
    """
    yes, no = np.ones(lower.shape, dtype=bool), np.zeros(lower.shape, dtype=bool)
    point = Value(lower, upper, yes, yes, no, no)
    value = _walk(closed, [point])[0]
    if value.hidden is not None or value.convex.shape != ():
        return None
    return "convex" if value.convex else "concave" if value.concave else None


def _walk(closed: Any, arguments: Sequence[Value], seen: dict[Any, list[Value]] | None = None) -> list[Value]:
    """Return the values of a jaxpr; what is computed twice from the same is one value."""
    seen = {} if seen is None else seen
    jaxpr, constants = (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())
    values: dict[Any, Value] = dict(zip(jaxpr.constvars, map(known, constants), strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def look(atom: Any) -> Value:
        return known(atom.val) if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        name, inputs = equation.primitive.name, [look(atom) for atom in equation.invars]
        if name in INLINED:
            results = _walk(equation.params[INLINED[name]], inputs, seen)
        elif all(one.is_known for one in inputs):
            bound = equation.primitive.bind(*[one.lower for one in inputs], **equation.params)
            results = [known(one) for one in (bound if equation.primitive.multiple_results else [bound])]
        elif len(equation.outvars) == 1:
            key = (name, str(equation.params), *[identity(one) for one in inputs])
            results = seen.setdefault(key, []) or [_after(equation, inputs)]
            seen[key] = results
        else:
            results = [unknown(out) for out in equation.outvars]
        values.update(zip(equation.outvars, results, strict=True))
    return [look(atom) for atom in jaxpr.outvars]


def _after(equation: Any, inputs: list[Value]) -> Value:
    """Return what a primitive makes of its inputs, at least one of which is not known."""
    name, out = equation.primitive.name, equation.outvars[0]
    origin = (name, *inputs)
    result: Value | None = None
    with np.errstate(all="ignore"):
        if name == "stop_gradient" and out.aval.size == 1:
            zero = known(np.zeros(out.aval.shape))
            return replace(zero, is_known=False, hidden=inputs[0], times=1)
        if name in linear.MOVES and all(one.is_known for one in inputs[1:] if name != "concatenate"):
            result = linear.moved(equation, inputs)
        elif name in RULES:
            result = RULES[name](equation, *inputs)
        elif name in curves.ELEMENTWISE and inputs[0].hidden is None:
            result = curves.ELEMENTWISE[name](inputs[0])
    if result is None:
        return unknown(out, origin)
    lower = np.where(np.isnan(result.lower), -np.inf, result.lower)
    upper = np.where(np.isnan(result.upper), np.inf, result.upper)
    return replace(result, lower=lower, upper=upper, origin=origin if not result.origin else result.origin)


def on_select(equation: Any, which: Value, *cases: Value) -> Value | None:
    """A choice that does not depend on the input, or that only sorts out what is not a number."""
    if any(case.hidden is not None for case in cases):
        return None
    if which.is_known:
        choose = np.broadcast_to(which.lower, cases[0].lower.shape).astype(np.int64)
        lower, upper, *flags = (np.choose(choose, [getattr(case, field) for case in cases]) for field in FIELDS)
        return Value(lower, upper, flags[0], flags[1], flags[2], flags[3])
    # "where it is not a number": whatever that gives, a comparison with a threshold fails there.
    is_nan_test = bool(which.origin) and which.origin[0] == "ne" and which.origin[1] is which.origin[2]
    return replace(cases[0], origin=()) if is_nan_test else None


RULES = linear.RULES | curves.RULES | {"select_n": on_select}
