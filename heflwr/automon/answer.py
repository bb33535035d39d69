"""What the fleet knows about f of its mean, and how far that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Guarantee(Enum):
    """What backs a bound."""

    EXACT = "exact"
    """The zone is the admissible region itself, or a convex part of it known in closed form."""
    GUARANTEED = "guaranteed"
    """By proof, under stated conditions."""
    HEURISTIC = "heuristic"
    """A numerical search that may have missed the worst point."""


@dataclass(frozen=True)
class Answer:
    """f of the mean of the live nodes' vectors, within `bound` whenever `is_quiescent`.

    A lying node whose vector stays inside the domain moves the mean of n nodes by at most diam(domain) / n.
    """

    value: float
    bound: float
    guarantee: Guarantee
    reason: str
    as_of: int
    """Version of the constraints that the value belongs to."""
    live: int
    """Nodes that take part."""
    stale: int
    """Live nodes that are owed a constraint, or whose vector is awaited: the bound does not hold for them yet."""
    lost: int
    """Nodes that were here and are gone; the value does not count them."""
    is_quiescent: bool
    """Whether no sync is under way."""

    def is_above(self, threshold: float) -> bool | None:
        """Return True where the bound makes it certain, False where it rules it out, None where it leaves it open."""
        if self.value - self.bound > threshold:
            return True
        return False if self.value + self.bound <= threshold else None

    def is_below(self, threshold: float) -> bool | None:
        """Return whether the value is below a threshold, likewise."""
        if self.value + self.bound < threshold:
            return True
        return False if self.value - self.bound >= threshold else None
