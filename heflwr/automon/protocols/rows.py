"""Arrays with a row a node: they grow together, and go together into a coordinator's state and out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def make_room(books: object, names: Sequence[str], node: int) -> None:
    """Lengthen the named arrays of `books` by rows of zeros, so that they have one for `node`."""
    for name in names:
        array = getattr(books, name)
        missing = node + 1 - len(array)
        if missing > 0:
            setattr(books, name, np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]))


def as_arrays(books: object, names: Sequence[str]) -> dict[str, Any]:
    """Return copies of the named arrays, by name."""
    return {name: getattr(books, name).copy() for name in names}


def restore(books: object, names: Sequence[str], state: Mapping[str, Any], whose: str) -> None:
    """Give `books` copies of the arrays in a state.

    Raises:
        ValueError: The state is of something else: an array is missing, or is not of the rows that `books` has.
    """
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"this is no state of {whose}: it lacks {', '.join(missing)}")
    for name in names:
        present, array = getattr(books, name), np.array(state[name])
        if array.ndim == 2 and array.shape[1:] != present.shape[1:]:
            raise ValueError(f"the state is of vectors of {array.shape[1]} numbers, f has {present.shape[1]}")
        if array.shape != present.shape:
            raise ValueError(f"this is no state of {whose}: {name} has shape {array.shape}, not {present.shape}")
        setattr(books, name, array)
