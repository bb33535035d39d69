"""Checks at the door: a wrong argument raises in the caller's thread, with its value and what is allowed."""

from __future__ import annotations

import numbers
import os
import platform
from collections.abc import Sequence

IDENTIFIER_LENGTH = 256
"""Longest identifier, in characters: it travels with every batch of samples."""


def number(name: str, value: float, lowest: float, highest: float) -> float:
    """Return `value` if it is a number from `lowest` to `highest`; raise TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):  # NumPy's numbers are such, too
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    if not lowest <= value <= highest:  # NaN is not
        raise ValueError(f"{name} must be from {lowest:g} to {highest:g}, got {value!r}")
    return float(value)


def integer(name: str, value: int, lowest: int, highest: int) -> int:
    """Return `value` if it is a whole number from `lowest` to `highest`; raise TypeError or ValueError otherwise.

    A float is none, not even 2.0: cutting 1.9 down to 1 would measure another process than the caller meant.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r} ({type(value).__name__})")
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be from {lowest} to {highest}, got {value!r}")
    return int(value)


def boolean(name: str, value: bool) -> bool:
    """Return `value` if it is True or False; raise TypeError otherwise: "no" would count as yes."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r} ({type(value).__name__})")
    return value


def choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`; raise ValueError otherwise."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def identifier(value: str | None) -> str:
    """Return `value` if it can name a client, or a random name for None; raise TypeError or ValueError otherwise."""
    if value is None:
        return f"{platform.node() or 'client'}-{os.urandom(4).hex()}"
    if not isinstance(value, str):
        raise TypeError(f"identifier must be a string, got {value!r} ({type(value).__name__})")
    if not value or len(value) > IDENTIFIER_LENGTH:
        raise ValueError(f"identifier must have 1 to {IDENTIFIER_LENGTH} characters, got {len(value)}")
    return value


def names(name: str, value: Sequence[str]) -> tuple[str, ...]:
    """Return `value` if it is a list of strings; raise TypeError otherwise: a string alone would be one of letters."""
    if isinstance(value, str):
        raise TypeError(f"{name} must be a list of names, got the string {value!r}; write [{value!r}]")
    listed = tuple(value)
    for entry in listed:
        if not isinstance(entry, str):
            raise TypeError(f"{name} must be a list of names, got {entry!r} ({type(entry).__name__}) in it")
    return listed
