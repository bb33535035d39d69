"""Arguments that several entrances take, checked in one place."""

from __future__ import annotations

from math import inf
from numbers import Integral, Real
from typing import Any


def check_error_bound(error_bound: Any) -> None:
    """Raises ValueError unless it is a number > 0 and finite."""
    if isinstance(error_bound, bool) or not isinstance(error_bound, Real) or not 0 < float(error_bound) < inf:
        raise ValueError(f"error_bound must be > 0 and finite, got {error_bound!r}")


def check_nodes(nodes: Any) -> None:
    """Raises ValueError unless it is a whole number >= 1."""
    if isinstance(nodes, bool) or not isinstance(nodes, Integral) or nodes < 1:
        raise ValueError(f"nodes must be >= 1 and whole, got {nodes!r}")
