"""What rounds take in energy: the latest that is over, and what was usual before it."""

from __future__ import annotations

import math
import statistics
from collections import deque

from heflwr.flower.entry import Entry
from heflwr.flower.history.summary import measured

ROUNDS_LEAST = 5
"""Fewer rounds are not a habit; the first ones often compile and load data."""

ROUNDS_MOST = 100
"""Rounds that the median is of: a run that has slowly changed is compared with what it is now."""


class RoundEnergy:
    """Adds up calls by round. Replies that come after their round are left out; so are rounds that nobody measured.

    Attributes:
        spent: Energy of the latest round that is over, joules; None while there is none.
        usual: Median of the rounds before it, joules; None while these are fewer than ROUNDS_LEAST.
    """

    def __init__(self) -> None:
        self.spent: float | None = None
        self.usual: float | None = None
        self._before: deque[float] = deque(maxlen=ROUNDS_MOST)
        self._round: int | None = None
        self._joules = math.nan  # of the round that goes on; NaN: nobody has measured any

    def begin(self, round: int) -> None:
        """Take note that messages of a round go out; another one than that which went on is over."""
        if round == self._round:
            return
        self._round = round
        if math.isnan(self._joules):
            return
        if self.spent is not None:
            self._before.append(self.spent)
        if len(self._before) >= ROUNDS_LEAST:
            self.usual = statistics.median(self._before)
        self.spent, self._joules = self._joules, math.nan

    def take(self, entry: Entry) -> None:
        """Take what became of a message."""
        joules = measured(entry, "energy_joules")
        if joules is not None and entry.round == self._round:
            self._joules = joules if math.isnan(self._joules) else self._joules + joules
