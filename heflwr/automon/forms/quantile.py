"""A quantile of a histogram: its admissible region is a polytope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.zones.halfspaces import HalfSpaces
from heflwr.automon.zones.zone import Floats

TIE = 1e-9
"""A bin counts as reached this share below q. Shares of whole samples are often exactly q, where rounding would
choose the bin; none is ever this far below."""

MARGIN = 1e-12
"""Share of the total by which the zone stays clear of the border that belongs to the next bin: rounding."""


@dataclass(frozen=True, eq=False)
class Quantile:
    """The centre of the first bin up to which the histogram x holds a share of at least q.

    f is piecewise constant. It is at least the centre of bin k exactly where the bins before k hold less than q, and
    at most that of bin k where the bins up to k hold q: both linear in x. The true quantile of the samples lies in the
    same bin, so it is off by at most half of the bin's width more than the error bound.

    Args:
        edges: The bins' borders, shape (dim + 1,), increasing.
        q: Between 0 and 1, both excluded.
    """

    edges: Floats
    q: float

    reason = "a quantile of a histogram lies in a range of bins exactly where two linear conditions hold on the bins"

    def __post_init__(self) -> None:
        edges = np.array(self.edges, dtype=np.float64)
        if edges.ndim != 1 or edges.size < 2 or not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
            raise ValueError(f"edges must be at least two finite, increasing numbers, got {edges}")
        if not 0 < self.q < 1:
            raise ValueError(f"q must be between 0 and 1, got {self.q}")
        object.__setattr__(self, "edges", edges)

    @property
    def dim(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    @property
    def centres(self) -> Floats:
        """The values that f takes, shape (dim,)."""
        centres: Floats = 0.5 * (self.edges[:-1] + self.edges[1:])
        return centres

    def bin(self, x: Floats) -> int:
        """The first bin up to which x, shape (dim,), >= 0, holds a share of q; -1 where x holds nothing."""
        held = np.cumsum(x)
        return int(np.argmax(held >= (self.q - TIE) * held[-1])) if held[-1] > 0 else -1

    def value(self, x: Floats) -> float:
        """F of a histogram; NaN where it holds nothing."""
        at = self.bin(x)
        return float(self.centres[at]) if at >= 0 else np.nan

    def gradient(self, x: Floats) -> Floats:
        """Zero: f is piecewise constant."""
        return np.zeros(self.dim)

    def hessian(self, x: Floats) -> Floats:
        """Zero: f is piecewise constant."""
        return np.zeros((self.dim, self.dim))

    def zone(self, reference: Floats, error_bound: float) -> HalfSpaces:
        """The histograms whose quantile is in a bin with a centre within the bound of that of x0."""
        at, centres = self.bin(reference), self.centres
        if at < 0:
            raise UnsupportedFunction(f"a histogram must hold something, got the mean {reference}")
        reachable = np.flatnonzero(np.abs(centres - centres[at]) <= error_bound)
        first, last, total = int(reachable[0]), int(reachable[-1]), float(reference.sum())
        share, index = self.q - TIE, np.arange(self.dim)
        normals, room = [], []
        if first > 0:  # the bins before the first hold less than the share
            normals.append((index < first) - share)
            room.append(-float(normals[-1] @ reference))
        if last < self.dim - 1:  # the bins up to the last hold the share
            normals.append(share - (index <= last))
            room.append(-float(normals[-1] @ reference))
        free = np.maximum(np.array(room), 0.0)
        free -= np.minimum(MARGIN * total, 0.5 * free)
        return HalfSpaces(reference, float(centres[at]), np.array(normals).reshape(-1, self.dim), free)
