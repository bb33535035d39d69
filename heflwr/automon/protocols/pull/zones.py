"""The zones of a pull coordinator: the present one, those that nodes still hold, and every node's share of each."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.protocols.pull.fit import Fit

if TYPE_CHECKING:
    from heflwr.automon.protocols.pull.books import Known
    from heflwr.automon.protocols.pull.outline import Outline
    from heflwr.automon.protocols.pull.polytope import Polytope
    from heflwr.automon.zones.zone import Floats

WAYS = 256
"""Reported drifts that are remembered."""

ENOUGH = 4
"""Of these before zones are made in their proportions; before, nodes are expected to drift as far as they are apart."""

LEAST_RATE, WIDEST = 0.1, 8.0
"""What is added to each node's rate of reports, and the largest share of a zone, in equal ones."""

HOPELESS = 0.8
"""A node that reports more often gets less: a larger share would hardly keep it silent, others have use for it."""


class Zones:
    """Zones by version; a version's shares never change, so that what a node was told is what is counted.

    Args:
        outline: Of the function.
        widest: Drifts are never longer, shape (d,); infinite where nobody knows.
    """

    def __init__(self, outline: Outline, widest: Floats) -> None:
        self._outline = outline
        self._fit = Fit(outline, widest)
        self._version = secrets.randbits(40) << 20  # another coordinator's versions are not ours
        self._present: Polytope | None = None
        self._held: dict[int, Polytope] = {}
        self._weights: dict[int, dict[int, float]] = {}
        self._ways: deque[Floats] = deque(maxlen=WAYS)
        self.made = 0

    def __contains__(self, version: int) -> bool:
        return version in self._held

    def __getitem__(self, version: int) -> Polytope:
        return self._held[version]

    @property
    def version(self) -> int:
        """Of the present zone; 0 where there is none."""
        return 0 if self._present is None else self._version

    def share(self, node: int) -> Polytope | None:
        """A node's part of the present zone, known or not; None where there is no zone."""
        return None if self._present is None else self._present.scaled(self.weight(node, self._version))

    def weight(self, node: int, version: int) -> float:
        """The share of a zone that a node was dealt; one that came later has an equal share."""
        return self._weights.get(version, {}).get(node, 1.0)

    def reported(self, way: Floats) -> None:
        """A node has drifted so far from its last report."""
        if way.any():
            self._ways.append(way)

    def learn(self, *, is_too_wide: bool) -> None:
        """Take to heart whether the range over a zone was wider than the bound when the centre had moved."""
        self._fit.learn(is_too_wide=is_too_wide)

    def renew(self, nodes: Mapping[int, Known], error_bound: float) -> bool:
        """Make a zone around the centre of the nodes that are known, for whoever is asked next; whether any is."""
        anchors = [node.anchor for node in nodes.values() if not node.is_unknown]
        if not anchors:
            return False
        rows = np.array(anchors)
        centre = rows.mean(axis=0)
        ways = np.array(self._ways) if len(self._ways) >= ENOUGH else rows - centre
        try:
            self._present = self._fit.zone(centre, error_bound, _scale(ways, rows), ways)
        except UnsupportedFunction:
            self._present = None
        self._version += 1
        if self._present is not None:
            self._held[self._version] = self._present
            self._deal(nodes)
            self.made += 1
        return True

    def keep(self, nodes: Mapping[int, Known]) -> None:
        """Forget all zones but the present one and those of these nodes."""
        in_use = {self._version}.union(*({node.checked, node.holds} for node in nodes.values()))
        self._held = {version: zone for version, zone in self._held.items() if version in in_use}
        self._weights = {version: dealt for version, dealt in self._weights.items() if version in in_use}

    def _deal(self, nodes: Mapping[int, Known]) -> None:
        """Shares of the present zone, n in all: more to nodes that report often, less to those that always do.

        A node whose drift takes sqrt(steps) to leave a zone reports in proportion to (drift / share)^2: the fewest
        reports are at shares in proportion to drift^(2/3), and its drift is in proportion to share * sqrt(rate).
        """
        if self._outline.is_exact:
            return
        for node in nodes.values():
            rate = node.rate + LEAST_RATE if node.rate < HOPELESS else LEAST_RATE
            node.weight = min(max(node.weight ** (2 / 3) * rate ** (1 / 3), 1 / WIDEST), WIDEST)
        total = sum(node.weight for node in nodes.values()) / len(nodes)
        for node in nodes.values():
            node.weight /= total
        self._weights[self._version] = {number: node.weight for number, node in nodes.items()}


def _scale(ways: Floats, anchors: Floats) -> Floats:
    """The size of a typical drift, shape (d,), > 0."""
    least = np.maximum(1e-3 * np.abs(anchors).mean(axis=0), 1e-9)
    typical: Floats = np.maximum(np.sqrt(np.square(ways).mean(axis=0)), least)
    return typical
