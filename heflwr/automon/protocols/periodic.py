"""Reports by the clock: every node sends its vector every so many rounds, and nobody answers.

Every round is centralization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.answer import Answer, Guarantee
from heflwr.automon.arguments import check_error_bound, check_nodes
from heflwr.automon.messages import COORDINATOR, Envelope, Message, Vector

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.zones.zone import Floats

CENTRAL = "every node reports every round, so the answer is f of the mean itself"
BETWEEN = "nothing bounds f between one report and the next, {} rounds later"


class Node:
    """A node that reports at its first update and then every `period` updates.

    Args:
        index: Its number, >= 0.
        period: Updates from one report to the next, >= 1.
    """

    def __init__(self, index: int, period: int = 1) -> None:
        if period < 1:
            raise ValueError(f"period must be >= 1, got {period}")
        self._index, self._period = index, period
        self._updates = 0

    def update(self, x: Floats) -> list[Envelope]:
        """Takes the new local vector, shape (d,)."""
        is_due = self._updates % self._period == 0
        self._updates += 1
        return [Envelope(COORDINATOR, Vector(self._index, 0, np.array(x, dtype=np.float64)))] if is_due else []

    def receive(self, message: Message) -> list[Envelope]:
        """Nothing a coordinator says changes when a node reports."""
        return []


class Coordinator:
    """Answers with f of the mean of what was reported last.

    Args:
        function: What is monitored.
        nodes: How many nodes there are at the start, numbered from 0.
        error_bound: What the answer claims; met by period 1 alone.
        period: As the nodes have it.
    """

    full_syncs = 0
    lazy_syncs = 0

    def __init__(self, function: Function, nodes: int, error_bound: float, *, period: int = 1) -> None:
        check_nodes(nodes)
        check_error_bound(error_bound)
        self._function, self._error_bound, self._period = function, error_bound, period
        self._awaited = set(range(nodes))
        self._vectors: dict[int, Floats] = {}
        self._lost: set[int] = set()
        self._value: float | None = None
        self.refused = 0

    def receive(self, *messages: Message) -> list[Envelope]:
        """Takes what the nodes sent."""
        for message in messages:
            if isinstance(message, Vector) and self._is_sound(message):
                self._vectors[message.node] = message.vector
                self._awaited.discard(message.node)
                self._lost.discard(message.node)
                self._value = None
            else:
                self.refused += 1
        return []

    def _is_sound(self, message: Vector) -> bool:
        vector = message.vector
        return message.node >= 0 and vector.shape == (self._function.dim,) and bool(np.isfinite(vector).all())

    def join(self, node: int) -> list[Envelope]:
        """A node takes part from now on; it counts when it reports."""
        if node not in self._vectors:
            self._awaited.add(node)
            self._lost.discard(node)
        return []

    def lost(self, node: int) -> list[Envelope]:
        """A node is gone; its vector no longer counts."""
        if node in self._vectors or node in self._awaited:
            self._vectors.pop(node, None)
            self._awaited.discard(node)
            self._lost.add(node)
            self._value = None
        return []

    @property
    def answer(self) -> Answer:
        """What is known now; its value is NaN before the first report."""
        if self._value is None:
            vectors = list(self._vectors.values())
            self._value = float(self._function.value(np.mean(vectors, axis=0))) if vectors else np.nan
        is_central = self._period == 1
        return Answer(
            value=self._value,
            bound=self._error_bound,
            guarantee=Guarantee.EXACT if is_central else Guarantee.HEURISTIC,
            reason=CENTRAL if is_central else BETWEEN.format(self._period),
            as_of=0,
            live=len(self._vectors) + len(self._awaited),
            stale=len(self._awaited),
            lost=len(self._lost),
            is_quiescent=not self._awaited,
        )
