"""What is known of one value on the way from the input to the result: its range and how it bends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FIELDS = ("lower", "upper", "convex", "concave", "root_convex", "log_convex")
"""The arrays of a value."""


@dataclass(frozen=True, eq=False)
class Value:
    """A value as a function of the input, coordinate by coordinate; all arrays have its shape.

    A value may hide a number m, the same for all coordinates, that is not looked into (logsumexp subtracts a maximum,
    and adds it again in the end): then the value is what the fields say plus m `times`, or times exp(m `times`).
    """

    lower: Array
    upper: Array
    convex: Array
    concave: Array
    root_convex: Array
    log_convex: Array
    origin: tuple[Any, ...] = ()
    """Primitive and inputs, by which x log x is recognised."""
    is_known: bool = False
    hidden: object | None = None
    times: int = 0
    is_factor: bool = False

    @property
    def is_affine(self) -> bool:
        """Whether it is an affine function of the input in every coordinate."""
        return bool((self.convex & self.concave).all()) and self.hidden is None


def known(array: Any) -> Value:
    """A value that does not depend on the input."""
    values = np.asarray(array)
    yes = np.ones(values.shape, dtype=bool)
    with np.errstate(all="ignore"):
        return Value(values, values, yes, yes, values >= 0, values > 0, is_known=True)


def unknown(atom: Any, origin: tuple[Any, ...] = ()) -> Value:
    """A value of which only the origin is known."""
    no = np.zeros(atom.aval.shape, dtype=bool)
    return Value(np.where(no, 0, -np.inf), np.where(no, 0, np.inf), no, no, no, no, origin)


def identity(value: Value) -> Any:
    """What two values that are the same share: known ones their numbers, others the object."""
    return (value.lower.shape, value.lower.dtype.str, value.lower.tobytes()) if value.is_known else value
