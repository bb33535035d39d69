"""The size of a zone: as large as the bound allows, in the proportions in which drifts of late would leave it least."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.protocols.pull.polytope import Polytope
from heflwr.automon.protocols.pull.spread import Spread

if TYPE_CHECKING:
    from heflwr.automon.protocols.pull.outline import Outline
    from heflwr.automon.zones.zone import Floats

MOST, LEAST = 0.9, 0.3
"""Of the bound, for a zone of a function that bends; the rest is for the moves of the centre until the next one."""

SMALLER, LARGER = 0.85, 1.02
"""How the part changes when that was not enough, and when it was."""

SIZES = tuple(2.0**step for step in range(-10, 11))
"""Reaches to choose from, in lengths of a typical drift."""

NEAR = 2
"""Steps of `SIZES` that are tried on either side of the last choice."""

CUT, CUTS = 0.7, 12
"""A depth that is too much for the bound is cut by this share, so many times."""

ROUNDING = 1e-9
"""Share of the bound that a range may be off by."""

WHOLE = 8
"""Every so many zones all of `SIZES` are tried."""


class Fit:
    """Makes the zones of one function."""

    def __init__(self, outline: Outline, widest: Floats) -> None:
        """Remember.

        Args:
            outline: Of the function.
            widest: Drifts are never longer, shape (d,); infinite where nobody knows.
        """
        self._outline = outline
        self._widest = widest
        self._last: int | None = None
        self._made = 0
        self._part = MOST

    def zone(self, centre: Floats, error_bound: float, scale: Floats, ways: Floats) -> Polytope | None:
        """Return a zone in which a whole fleet keeps f within the bound; None where there is none.

        Args:
            centre: The mean of the anchors, shape (d,).
            error_bound: Half of the widest range of f, > 0.
            scale: A typical drift, shape (d,), > 0.
            ways: Drifts to expect, shape (k, d), one at least.
        """
        bent = self._outline.bent(centre)
        if bent.any():
            error_bound *= self._part
        rows, depths = self._outline.cuts(centre, error_bound)
        if not (np.isfinite(rows).all() and (depths >= 0).all()):
            return None
        if self._outline.is_exact:
            return Polytope(rows, depths, self._widest)
        if not bent.any():
            return self._deepest(centre, rows, depths, self._widest, error_bound)
        found: list[tuple[float, int, Polytope]] = []
        for place in self._places():
            reach = np.where(bent, np.minimum(SIZES[place] * scale, self._widest), self._widest)
            zone = self._deepest(centre, rows, depths, reach, error_bound)
            if zone is not None:
                found.append((_strain(zone, ways), place, zone))
        if not found:
            self._last = None
            return None
        _, self._last, zone = min(found, key=lambda one: one[:2])
        return zone

    def learn(self, *, is_too_wide: bool) -> None:
        """Take to heart whether the range over a zone was wider than the bound when the centre had moved."""
        self._part = max(SMALLER * self._part, LEAST) if is_too_wide else min(LARGER * self._part, MOST)

    def _places(self) -> range:
        self._made += 1
        if self._last is None or self._made % WHOLE == 1:
            return range(len(SIZES))
        return range(max(0, self._last - NEAR), min(len(SIZES), self._last + NEAR + 1))

    def _deepest(
        self, centre: Floats, rows: Floats, depths: Floats, reach: Floats, error_bound: float
    ) -> Polytope | None:
        """A zone of that reach, as deep as its range over it allows."""
        room = 2 * error_bound * (1 + ROUNDING)
        flat = self._width(centre, Polytope(rows, np.zeros(len(depths)), reach))
        if not flat < room:
            return None
        depths = np.minimum(depths, np.where(np.isfinite(depths), depths, error_bound)) * (1 - flat / room)
        for _ in range(CUTS):
            zone = Polytope(rows, depths, reach)
            if self._width(centre, zone) <= room:
                return zone
            depths = CUT * depths
        return None

    def _width(self, centre: Floats, zone: Polytope) -> float:
        low, high = self._outline.range(centre, Spread.of(zone))
        return high - low if high - low == high - low else inf


def _strain(zone: Polytope, drifts: Floats) -> float:
    """How often drifts like these leave a zone: one that uses up the share s of the way to its border, s^2 / (1 + s^2).

    A drift of many small steps leaves in proportion to s^2 while s is small, and at most each time.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cuts = np.nan_to_num(np.maximum(drifts @ zone.rows.T, 0.0) / zone.depths, nan=0.0, posinf=FURTHEST)
        ends = np.nan_to_num(np.abs(drifts) / zone.reach, nan=0.0, posinf=FURTHEST)
    squares = np.square(np.concatenate([cuts, ends], axis=1).max(axis=1))
    return float((squares / (1 + squares)).mean())


FURTHEST = 1e6
"""In place of an infinite share of the way."""
