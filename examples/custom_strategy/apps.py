"""The client app: softmax regression on scikit-learn's digits; some nodes need ten times the work for the same step."""

from __future__ import annotations

from functools import cache

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Array = NDArray[np.float64]
HELD_OUT = 397
EPOCHS = 4
LEARNING_RATE = 0.5

SLOWNESS = (1, 1, 2, 2, 3, 4, 5, 6, 8, 10)
"""How much longer node 0, 1, 2, ... computes for each gradient: an old board burns more for the same result."""

REPEATS = 150
"""How often the fastest node computes each gradient: the model is too small to cost anything worth saving."""

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on this node's share of the digits."""
    node, nodes = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    pixels, digits = (part[HELD_OUT + node :: nodes] for part in _digits())
    weights, bias = (array.copy() for array in message.content["arrays"].to_numpy_ndarrays())
    for _ in range(EPOCHS):
        for _ in range(REPEATS * SLOWNESS[node % len(SLOWNESS)]):
            error = _softmax(pixels @ weights + bias) - np.eye(10)[digits]
            gradient = pixels.T @ error / len(digits)
        weights -= LEARNING_RATE * gradient
        bias -= LEARNING_RATE * error.mean(0)
    metrics = MetricRecord({"num-examples": len(digits)})
    return Message(RecordDict({"arrays": ArrayRecord([weights, bias]), "metrics": metrics}), reply_to=message)


def new_model() -> list[Array]:
    """Return a model that knows nothing: weights (64, 10) and biases (10,)."""
    return [np.zeros((64, 10)), np.zeros(10)]


def accuracy(model: list[Array]) -> float:
    """Return the share of held-out digits that the model gets right."""
    pixels, digits = (part[:HELD_OUT] for part in _digits())
    return float(((pixels @ model[0] + model[1]).argmax(1) == digits).mean())


@cache
def _digits() -> tuple[Array, NDArray[np.int64]]:
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    return pixels[order] / 16, digits[order]


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
