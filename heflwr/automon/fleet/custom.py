"""A function of the user's own, over vectors that the user makes of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heflwr.automon.box import Box
from heflwr.automon.fleet.measure import OfSamples, Sample, unchanged
from heflwr.automon.function import Function


def function(
    fn: Callable[[Any], Any] | Function,
    dim: int,
    *,
    vector: Callable[[Sample], Any],
    bound: float | None = None,
    name: str = "",
    unit: str = "",
    span: Box | None = None,
) -> OfSamples:
    """Any function of the mean of any vector.

    Args:
        fn: f: a function of one vector that JAX can trace, or a `Function`, such as one with given derivatives. The
            nodes never call it.
        dim: Size of the vector.
        vector: From a sample, a mapping of metrics to numbers, to the local vector: dim numbers.
        bound: How far off the answer may be, > 0.
        name: What the answer is found under; default the function's own name.
        unit: Of f.
        span: Where local vectors are, where one knows: what a node that was not heard of cannot be beyond.

    Raises:
        TypeError: `fn` or `vector` is no function.
        ValueError: `dim` is not that of the Function or of the span, or below 1.
    """
    if not callable(vector):
        raise TypeError(f"vector must be a function of a sample, got {vector!r}")
    f = fn if isinstance(fn, Function) else Function(fn, dim)
    if f.dim != dim:
        raise ValueError(f"the function is of {f.dim} numbers, dim says {dim}")
    if span is not None and span.dim != dim:
        raise ValueError(f"span must have {dim} coordinates, got {span.dim}")
    name = name or getattr(fn, "__name__", "function")
    return OfSamples(name, unit, (), unchanged, f, span if span is not None else f.domain, bound, read=vector)
