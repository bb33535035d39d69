"""What there is to say of a run in a line of a terminal, in parts that its views put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from heflwr import quantities

_SPENT: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("cpu_seconds", "CPU", quantities.seconds),
    ("energy_joules", "energy", quantities.joules),
)
"""Columns of which a sum is told, what they are called, and how their numbers are written."""


def printable(text: str) -> str:
    r"""Return text that came over a network with what would move the cursor, or reorder it, as \x1b or \u202e."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def unanswered(errors: int, lost: int) -> list[str]:
    """Return how many messages failed and how many were lost, as far as there are any."""
    return [f"{count} {word}" for count, word in ((errors, "failed"), (lost, "lost")) if count]


def spent(sums: Mapping[str, float]) -> list[str]:
    """Return sums of columns, as far as anybody measured them."""
    return [f"{word} {write(sums[column])}" for column, word, write in _SPENT if column in sums]


def accuracy(latest: tuple[int, float] | None) -> list[str]:
    """Return the accuracy, percent, of a round, where anybody told one."""
    return [] if latest is None else [f"accuracy {latest[1]:.1f} % (round {latest[0]})"]
