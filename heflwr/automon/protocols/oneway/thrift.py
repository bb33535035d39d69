"""What the one-way coordinator counts in order to send little: is another zone worth its messages, is any?"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.zones.zone import Floats

if TYPE_CHECKING:
    from heflwr.automon.messages import Report
    from heflwr.automon.zones.drift import DriftZone

DEAR = 3
"""Zones in a row that cost more than reporting every change would have, before every change is reported."""

FIRST_REST, LONGEST_REST = 16, 256
"""Updates for which every change is reported then; doubled each time, up to the second."""

TRIAL = 3
"""Messages a node that a trial may cost: the zone, reports, and the end of it."""

PROMISING = 1.25
"""Changes in one direction that a zone should take in before it is tried again: with fewer zones go on being dear."""

ENOUGH = 256
"""Ways that are looked at; more are sampled evenly."""

REMEMBERED = 4
"""Ways a node that are kept."""

FORGETTING = 0.99
"""What a report leaves of the longest way."""


class Thrift:
    """The books of one coordinator; `updates` of a node is what reporting all of them would have cost."""

    def __init__(self) -> None:
        self.reports = 0
        """Since the last zone."""
        self.recent: list[Floats] = []
        """The ways of those reports, from anchor to anchor, each divided by its node's weight."""
        self.longest = 0.0
        """The longest way of late."""
        self._most = REMEMBERED
        self._weighed = 0
        self._saved = 0.0
        self._messages = 0
        self._counts: dict[int, tuple[int, int]] = {}  # by node: its count of updates, and all it had since the start
        self._updates = self._renewed_at = 0
        self._dear = 0
        self._rest, self._rests_until = FIRST_REST, 0

    def reported(self, report: Report, way: Floats) -> None:
        """A node left the zone by a way, in units of its weight."""
        self.reports += 1
        self._messages += 1
        before, total = self._counts.get(report.node, (0, 0))
        total += report.updates - before if report.updates >= before else report.updates
        self._counts[report.node] = report.updates, total
        self._updates = max(self._updates, total)
        self.recent.append(way)
        excess = max(len(self.recent) - self._most, 0)
        del self.recent[:excess]
        self._weighed = max(self._weighed - excess, 0)
        self.longest = max(sqrt(float(way.dot(way))), FORGETTING * self.longest)

    def renewed(self, messages: int, is_point: bool) -> None:
        """All nodes were sent a zone."""
        self._messages += messages
        self.reports = self._weighed = 0
        self.recent = []
        self._most = REMEMBERED * messages
        self._saved = 0.0
        self._renewed_at = self._updates
        if is_point:
            self._dear = 0
            self._rests_until = self._updates + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)

    def is_due(self, nodes: int) -> bool:
        """Whether there are enough new reports to look for a better zone."""
        return len(self.recent) - self._weighed >= max(1, nodes // 2)

    def weigh(self, present: DriftZone, better: DriftZone) -> None:
        """Counts how many of the new reports `better` would have saved, had it been there.

        A way that goes on s times as far before it leaves the zone is reported 1 / s times as often.
        """
        new = self.recent[self._weighed :]
        ways = np.array(new[:: 1 + len(new) // ENOUGH])
        shares = np.minimum(furthest(present, ways) / furthest(better, ways), 2.0)
        self._saved = max(self._saved + len(new) * float((1 - shares).mean()), 0.0)
        self._weighed = len(self.recent)

    def would_save(self, nodes: int) -> bool:
        """Whether the better zones would have saved as many reports as one costs messages."""
        return self._saved >= nodes and self.has_credit(nodes)

    def paid(self, messages: int) -> None:
        """All nodes were sent another part of the same zone."""
        self._messages += messages

    def has_credit(self, nodes: int) -> bool:
        """Whether another zone may be sent at all."""
        return self._credit(nodes) >= TRIAL * nodes

    def close(self, nodes: int) -> None:
        """The present zone is at its end: counts whether reporting every change would have cost less."""
        elapsed = self._updates - self._renewed_at
        is_dear = self._updates > 0 and self.reports + nodes > nodes * elapsed
        self._dear = self._dear + 1 if is_dear else 0

    def is_too_dear(self, nodes: int) -> bool:
        """Whether zones have cost more of late, or would cost more in all, than reporting every change."""
        return self._updates > 0 and (self._dear >= DEAR or self._credit(nodes) < 2 * nodes)

    def is_rested(self, nodes: int) -> bool:
        """Whether it is time to see what zones would be worth again."""
        return self._updates >= self._rests_until and self.has_credit(nodes)

    def rest(self) -> None:
        """Leaves the changes alone for a while again."""
        self._rests_until = self._updates + self._rest

    def _credit(self, nodes: int) -> int:
        """Messages that reporting every change would have cost, and one a node, and the loans, less what was spent.

        A loan pays for a trial of zones although nothing was saved yet: one when updates have doubled since the last.
        """
        loans = max(self._updates // FIRST_REST, 0).bit_length()
        return nodes * (self._updates + 1 + TRIAL * loans) - self._messages

    def is_promising(self, zone: DriftZone) -> bool:
        """Whether `zone` would take in several of the changes of late."""
        ways = self.recent[:: 1 + len(self.recent) // ENOUGH]
        return bool(ways) and float(np.median(furthest(zone, np.array(ways)))) >= PROMISING


def furthest(zone: DriftZone, ways: Floats) -> Floats:
    """How many lengths of each way, ways of shape (k, d), lead to the border of the zone, within 3 %, 1/64 to 64."""
    low, high = np.full(len(ways), 1 / 64), np.full(len(ways), 64.0)
    for _ in range(BISECTIONS):
        middle = np.sqrt(low * high)
        is_inside = zone.violations(middle[:, None] * ways) == 0
        low, high = np.where(is_inside, middle, low), np.where(is_inside, high, middle)
    return low


BISECTIONS = 9
"""4096 to the power of 1 / 2^9 is 1.016."""
