"""What is learned: scikit-learn's digits, unevenly spread over the clients, by a one-hidden-layer network in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Array = NDArray[np.float64]
Model = list[Array]
"""Weights and biases of the two layers: (64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)."""

HIDDEN = 256
HELD_OUT = 397
"""Examples that no client sees; the other 1400 are shared out."""

LABEL_NOISE = 2.0
"""Clients get neighbouring digits; the larger, the more alike their data (0: each has three or four digits)."""

BATCH = 4
LEARNING_RATE = 0.002
EPOCHS = (60, 90, 120)
"""Local epochs of client 0, 1, 2, 3, ... in turn: clients differ in what they spend, not only in what they have."""


def new_model(seed: int = 0) -> Model:
    """Return a fresh model."""
    random = np.random.default_rng(seed)
    return [
        random.normal(0, np.sqrt(2 / 64), (64, HIDDEN)),
        np.zeros(HIDDEN),
        random.normal(0, np.sqrt(2 / HIDDEN), (HIDDEN, 10)),
        np.zeros(10),
    ]


def held_out() -> tuple[Array, NDArray[np.int64]]:
    """Return the examples that judge the common model: pixels (397, 64) from 0 to 1, digits (397,)."""
    pixels, digits = _digits()
    return pixels[:HELD_OUT], digits[:HELD_OUT]


def partition(client: int, clients: int) -> tuple[Array, NDArray[np.int64]]:
    """Return one client's examples: client k has k + 1 shares, most of them of neighbouring digits."""
    pixels, digits = (part[HELD_OUT:] for part in _digits())
    order = np.argsort(digits + np.random.default_rng(1).normal(0, LABEL_NOISE, len(digits)))
    shares = np.arange(1, clients + 1)
    bounds = np.concatenate([[0], np.cumsum(shares)]) * len(order) // shares.sum()
    mine = order[bounds[client] : bounds[client + 1]]
    return pixels[mine], digits[mine]


def train(model: Model, pixels: Array, digits: NDArray[np.int64], epochs: int, seed: int) -> Model:
    """Return the model after so many epochs of stochastic gradient descent on the softmax cross-entropy."""
    w1, b1, w2, b2 = (part.copy() for part in model)
    random = np.random.default_rng(seed)
    for _ in range(epochs):
        order = random.permutation(len(digits))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            x = pixels[batch]
            hidden = np.maximum(x @ w1 + b1, 0)
            error = _softmax(hidden @ w2 + b2)
            error[np.arange(len(batch)), digits[batch]] -= 1
            error *= LEARNING_RATE / len(batch)
            back = (error @ w2.T) * (hidden > 0)
            w2 -= hidden.T @ error
            b2 -= error.sum(0)
            w1 -= x.T @ back
            b1 -= back.sum(0)
    return [w1, b1, w2, b2]


def accuracy(model: Model, pixels: Array, digits: NDArray[np.int64]) -> float:
    """Return the share of examples that the model gets right."""
    w1, b1, w2, b2 = model
    scores = np.maximum(pixels @ w1 + b1, 0) @ w2 + b2
    return float((scores.argmax(1) == digits).mean())


def _digits() -> tuple[Array, NDArray[np.int64]]:
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    return pixels[order] / 16.0, digits[order].astype(np.int64)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
