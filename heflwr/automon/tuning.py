"""AutoMon's Algorithm 2: the neighbourhood radius with the fewest violations on data set aside for tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Count = Callable[[float], Mapping[str, int]]

FIRST_RADIUS = 1.0
"""Where the search begins; the paper's."""

GRID = 10
"""Radii tried between the smallest and the largest of use, both included; the paper's."""

SMALLEST_RADIUS = 2.0**-40
"""The search gives up halving here: data this still violate no neighbourhood at any radius."""

LARGEST_RADIUS = 2.0**40
"""And doubling here: what still violates a neighbourhood so wide will at any radius."""


def tuned_radius(count: Count, widest: float) -> float:
    """Returns the best radius.

    Args:
        count: Violations by kind (safe_zone, neighbourhood, ...) in a run over the tuning data with a fixed radius.
        widest: Side of the whole domain; a radius beyond it is of no use. May be infinite.
    """
    found: dict[float, Mapping[str, int]] = {}

    def run(radius: float) -> Mapping[str, int]:
        if radius not in found:
            found[radius] = count(radius)
        return found[radius]

    def total(radius: float) -> int:
        return sum(run(radius).values())

    radius = FIRST_RADIUS
    while run(radius)["neighbourhood"] == 0 and radius > SMALLEST_RADIUS:
        radius /= 2
    if run(radius)["neighbourhood"] == 0:
        return max(found, key=lambda each: (-total(each), each))
    smallest = largest = radius
    while (counts := run(smallest))["safe_zone"] > 0 and counts["neighbourhood"] < 2 * counts["safe_zone"]:
        if smallest <= SMALLEST_RADIUS:
            break
        smallest /= 2
    while run(largest)["neighbourhood"] > 0 and 2 * largest <= min(widest, LARGEST_RADIUS):
        largest *= 2
    for radius in np.linspace(smallest, largest, GRID):
        run(float(radius))
    return min(found, key=lambda each: (total(each), each))
