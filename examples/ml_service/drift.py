"""Do the last 50 inputs look like those that the model was trained on? What they really were, nobody knows yet."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

RECENT = 50

EDGES = (0.5, 5.5, 11.5)
"""Between a pixel's four bins: empty, faint, half, dark. More bins, and 50 inputs would say nothing about each."""

_SMOOTHING = 0.5
"""Added to each bin's count, so that a bin never seen is not infinitely surprising (Krichevsky and Trofimov, 1981)."""


class Drift(NamedTuple):
    """What the last inputs look like.

    Attributes:
        variance: Of each pixel over the inputs, mean over the pixels.
        kl_nats: Kullback-Leibler divergence of each pixel's recent distribution from that in training, mean over the
            pixels: about 0.03 for 50 inputs of the very same kind, more for others.
    """

    variance: float
    kl_nats: float


class RecentInputs:
    """A ring of the last inputs of this process; any thread adds."""

    def __init__(self, training: np.ndarray, size: int = RECENT) -> None:
        """Remember what training inputs, shape (n, d), look like."""
        self.training_variance = float(training.var(axis=0).mean())
        self._log_training = np.log(_shares(training))
        self._ring = np.zeros((size, training.shape[1]))
        self._added = 0
        self._lock = threading.Lock()

    def add(self, inputs: np.ndarray) -> Drift | None:
        """Take inputs, shape (n, d); return the drift, None until the ring is full."""
        size = len(self._ring)
        with self._lock:
            for row in inputs[-size:]:
                self._ring[self._added % size] = row
                self._added += 1
            if self._added < size:
                return None
            recent = self._ring.copy()
        shares = _shares(recent)
        divergence = (shares * (np.log(shares) - self._log_training)).sum(axis=0)
        return Drift(float(recent.var(axis=0).mean()), float(divergence.mean()))


def _shares(inputs: np.ndarray) -> np.ndarray:
    """Return the share of each bin, shape (bins, d), for inputs of shape (n, d)."""
    bins = np.digitize(inputs, EDGES)
    counts = np.stack([(bins == number).sum(axis=0) for number in range(len(EDGES) + 1)]) + _SMOOTHING
    return counts / counts.sum(axis=0)
