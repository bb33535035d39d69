"""Messages with asks on them: which are on their way, which nobody waits for any longer, which is a node's latest."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from heflwr.automon.protocols.pull.messages import Ask

GIVEN_UP_MOST = 10_000
"""Messages that nobody waits for any longer, but whose reply may still come."""


@dataclass(slots=True)
class Asked:
    """A message with asks on it that is on its way.

    Attributes:
        metadata: Flower's; it has the message's id once that was pushed.
        node: To which it goes.
        asks: One a function.
        round: To which it belongs.
        expires: When, by the monotonic clock, Flower will have thrown it away.
        is_over: It was answered or given up.
    """

    metadata: Any
    node: int
    asks: list[Ask]
    round: int
    expires: float
    is_over: bool = False


class Pending:
    """Knows them by node and by id; at most one a node is open. Its owner has one thread in here at a time."""

    def __init__(self) -> None:
        self._open: dict[int, Asked] = {}  # by node: those that are not over, pushed or about to be
        self._latest: dict[int, Asked] = {}  # by node, over or not
        self._pushed: dict[str, Asked] = {}
        self._given_up: OrderedDict[str, Asked] = OrderedDict()

    def __contains__(self, node: int) -> bool:
        """Whether a node is asked, and its reply is awaited."""
        return node in self._open

    @property
    def open(self) -> tuple[Asked, ...]:
        """Those whose replies are awaited."""
        return tuple(self._open.values())

    def add(self, asked: Asked) -> None:
        """It is about to be pushed."""
        self._open[asked.node] = self._latest[asked.node] = asked

    def pushed(self, asked: Asked) -> None:
        """It is pushed, and has its id."""
        self._pushed[asked.metadata.message_id] = asked

    def answered(self, key: str) -> Asked | None:
        """Return what a reply is to, which is over now; None where no ask of ours was on that message."""
        asked = self._pushed.pop(key, None) or self._given_up.pop(key, None)
        if asked is not None:
            self._end(asked)
        return asked

    def is_latest(self, asked: Asked) -> bool:
        """Whether its node was not asked again since, and so cannot have measured more."""
        return self._latest.get(asked.node) is asked

    def give_up(self, asked: Asked) -> bool:
        """Nobody waits for it any longer; False where it was over before."""
        if asked.is_over:
            return False
        self._end(asked)
        key = asked.metadata.message_id
        self._pushed.pop(key, None)
        if key:
            self._given_up[key] = asked
        while len(self._given_up) > GIVEN_UP_MOST:
            self._given_up.popitem(last=False)
        return True

    def _end(self, asked: Asked) -> None:
        asked.is_over = True
        if self._open.get(asked.node) is asked:
            del self._open[asked.node]
