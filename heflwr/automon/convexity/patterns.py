"""Expressions that bend as a whole although their parts do not: u log(u / w), log(exp(a) + exp(b))."""

from __future__ import annotations

import numpy as np

from heflwr.automon.convexity.value import Value, identity


def entropy_sign(factor: Value, logarithm: Value) -> int:
    """The sign with which factor * logarithm is u log(u/w), convex for affine u and w > 0; 0 where it is not that."""
    above, below = _log_ratio(logarithm)
    if above is None or not above.is_affine or (below is not None and not below.is_affine):
        return 0
    if below is not None and not ((above.lower >= 0).all() or (below.lower >= 0).all()):
        return 0  # two negative numbers have a ratio with a logarithm, too
    sign = _multiple(factor, above)
    return sign if sign or below is None else -_multiple(factor, below)


def _log_ratio(value: Value) -> tuple[Value | None, Value | None]:
    """(u, w) where value = log(u/w) plus a constant, w None where there is none; (None, None) where it is not that."""
    name, *inputs = value.origin or ("",)
    if name == "log":
        name, *parts = inputs[0].origin or ("",)
        if name == "div" and not parts[0].is_known:
            return (parts[0], None) if parts[1].is_known and (parts[1].lower > 0).all() else (parts[0], parts[1])
        if name == "mul" and parts[1].is_known and (parts[1].lower > 0).all():
            return parts[0], None
        return inputs[0], None
    if name in {"add", "sub"} and inputs[1].is_known:
        return _log_ratio(inputs[0])
    if name == "sub":
        (above, no), (below, neither) = _log_ratio(inputs[0]), _log_ratio(inputs[1])
        return (above, below) if no is None and neither is None and below is not None else (None, None)
    return None, None


def _multiple(value: Value, of: Value) -> int:
    """1 or -1 where value is a positive or negative multiple of another, the same in all coordinates; else 0."""
    if value is of:
        return 1
    if value.origin and value.origin[0] == "neg":
        return -_multiple(value.origin[1], of)
    if value.origin and value.origin[0] in {"mul", "div"} and value.origin[2].is_known:
        constant = value.origin[2].lower
        sign = 1 if (constant > 0).all() else -1 if (constant < 0).all() else 0
        return sign * _multiple(value.origin[1], of)
    return 0


def softplus(maximum: Value, rest: Value) -> Value | None:
    """max(a, b) + log1p(exp(-|a - b|)) is log(exp(a) + exp(b)): convex and increasing in both."""
    at = rest
    for name in ("log1p", "exp", "neg", "abs"):
        if at.origin and at.origin[0] == name:
            at = at.origin[1]
        elif name != "abs" or not (at.lower >= 0).all():  # |a - b| is a - b itself where that is >= 0
            return None
    if not (at.origin and at.origin[0] == "sub" and maximum.origin and maximum.origin[0] == "max"):
        return None
    left, right = at.origin[1:]
    if {identity(left), identity(right)} != {identity(one) for one in maximum.origin[1:]}:
        return None
    if left.hidden is not None or right.hidden is not None:
        return None
    lower, upper = np.logaddexp(left.lower, right.lower), np.logaddexp(left.upper, right.upper)
    no = np.zeros_like(maximum.convex)
    return Value(lower, upper, left.convex & right.convex, no, no, no)
