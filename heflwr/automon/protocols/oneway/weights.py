"""Which share of the zone each node gets: larger ones to those that report most, as adaptive filters do.

Olston, Jiang and Widom (SIGMOD 2003, doi 10.1145/872757.872825) move the widths of filters to where updates come from.
Where a node with weight w reports C w^-p times, and p is the same for all, the fewest reports are at equal reports / w.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from heflwr.automon.zones.zone import Floats, Indices

LEVELS = 2.0 ** (np.arange(-16, 17) / 8)
"""The weights there are, 1/4 to 4: few enough for a large fleet to be checked as some arrays. A node that was calm may
wake up, and one that jumps would report however large its zone is: so neither limit is further away."""

DOUBT = 2.0
"""Counts that differ by chance have a chi-square of about the number of nodes; so many times that is no evidence."""

NEAR = 2.0
"""Ways longer than this many zones are jumps, of which no weight makes fewer."""

WORTHWHILE = 2.0
"""Weights are dealt alone when they would have saved so many reports a message that it takes."""


def dealt(weights: Floats, reports: Indices) -> Floats:
    """Return weights, shape (n,), that sum to n at most; towards equal reports / weight, as far as there is evidence.

    Args:
        weights: As they were, shape (n,), with a sum of n at most.
        reports: How many each node sent under them, shape (n,).
    """
    total = float(reports.sum())
    if total == 0:
        return weights
    mean = total / float(weights.sum())
    spread = float((np.square(reports - mean * weights) / (mean * weights)).sum())
    if spread <= DOUBT * len(weights):
        return weights
    trust = 1 - DOUBT * len(weights) / spread
    wanted = weights * ((reports / weights + 1) / (mean + 1)) ** (trust / 2)
    low, high = 0.0, LEVELS[-1] / float(wanted.min())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _levels(middle * wanted).sum() <= len(weights) else (low, middle)
    return _levels(low * wanted)


def within(weights: Floats) -> Floats:
    """Return weights, shape (n,), none larger than before, that sum to n at most: what lacks is the heaviest's.

    Args:
        weights: Those that a departure left, shape (n,).
    """
    weights = weights.copy()
    for node in np.argsort(-weights, kind="stable").tolist():
        excess = float(weights.sum()) - len(weights)
        if excess <= 0:
            break
        weights[node] = _levels(weights[node] - excess)
    return weights


def saved(before: Floats, after: Floats, reports: Indices) -> float:
    """Return how many of the reports sent under weights `before` those `after` would have saved, by the model."""
    return float((reports * (1 - before / after)).sum())


def _levels(weights: Floats) -> Floats:
    """The largest level that is not above each weight; the least where there is none."""
    chosen: Floats = LEVELS[np.maximum(np.searchsorted(LEVELS, weights * (1 + ROUNDING), side="right") - 1, 0)]
    return chosen


BISECTIONS = 50
ROUNDING = 1e-12
"""A level is not missed by so little."""
