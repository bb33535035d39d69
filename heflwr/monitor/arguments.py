"""Checks at the door: a wrong argument raises in the caller's thread, with its value and what is allowed."""

from __future__ import annotations

import math
import os
import platform

IDENTIFIER_LENGTH = 256
"""Longest identifier, in characters: it travels with every batch of samples."""


def number(name: str, value: float, lowest: float, highest: float) -> float:
    """Return `value` if it is a number from `lowest` to `highest`; raise TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    if math.isnan(value) or not lowest <= value <= highest:
        raise ValueError(f"{name} must be from {lowest:g} to {highest:g}, got {value!r}")
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
