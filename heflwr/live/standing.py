"""What is known of one watched function at one moment: a value for a console, Prometheus and a collector alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """A watched function as it stands.

    While an agent is awaited, or has been silent for so long that its silence says nothing, no bound is known.
    """

    name: str
    unit: str
    guarantee: str
    """"exact", "guaranteed" or "heuristic"."""
    reason: str
    value: float | None
    """None: not known."""
    bound: float | None
    """How far off the value may be; None: not known."""
    live: int
    """Agents that take part."""
    stale: int
    """Live agents that are awaited, or not heard of lately."""
    lost: int
    """Agents that were here and are gone; the value does not count them."""
    messages: int
    """Of the protocol, either way; heartbeats are not among them."""
    updates: int
    """Local vectors that the agents had: what telling all of them would have cost."""
    round: int | None = None
    """Of a federation; None where there are none."""
    truth: float | None = None
    """The function's true value, where somebody knows it, as in a simulation."""

    @property
    def avoided(self) -> int:
        """Messages that were not sent, so far as it is known."""
        return max(0, self.updates - self.messages)
