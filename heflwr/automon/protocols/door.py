"""The door of a coordinator: which messages of nodes are taken, which are refused, and when a node is given up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar

import numpy as np

if TYPE_CHECKING:
    from heflwr.automon.function import Function

MOST_REFUSALS = 8
"""Refused in a row while its vector is awaited, before a node is given up: it has no other to send."""


M = TypeVar("M")


class Door(Generic[M]):
    """What is refused changes nothing but counts; a node that can only be refused is given up.

    Args:
        function: Whose vectors are sound: shape (d,), finite, in the domain.
        kinds: The messages that nodes send.
    """

    def __init__(self, function: Function, *kinds: type[Any]) -> None:
        self._kinds = kinds
        self._dim = int(function.dim)
        self._domain = function.domain
        self._in_a_row: Counter[int] = Counter()
        self.refused = 0
        """Messages that no node of ours would send."""
        self.unfit: dict[int, str] = {}
        """The nodes that were given up, and why."""

    def admits(self, message: object, nodes: int) -> TypeGuard[M]:
        """Whether a message may be taken, with node indices below `nodes`; one that may not is counted."""
        fault = self._fault(message, nodes)
        node = getattr(message, "node", -1)
        if fault is None:
            self.forgive(node)
            return True
        self.refused += 1
        if 0 <= node < nodes:
            self._in_a_row[node] += 1
            if self._in_a_row[node] >= MOST_REFUSALS:
                self.unfit[node] = f"the last {MOST_REFUSALS} messages were refused: {fault}"
        return False

    def forgive(self, node: int) -> None:
        """A node that sent something sound, or begins anew, is heard as if nothing had been refused."""
        self._in_a_row.pop(node, None)
        self.unfit.pop(node, None)

    def _fault(self, message: Any, nodes: int) -> str | None:
        if not isinstance(message, self._kinds):
            return f"a {type(message).__name__} is not for a coordinator of this protocol"
        vector = message.vector
        if not 0 <= message.node < nodes:
            return f"there is no node {message.node}"
        if not isinstance(vector, np.ndarray) or vector.shape != (self._dim,):
            return f"f takes vectors of shape ({self._dim},), got {np.shape(vector)}"
        if not np.isfinite(vector).all():
            return "a vector must be finite"
        if self._domain is not None and not self._domain.contains(vector):
            return "the vector is outside f's domain"
        return None
