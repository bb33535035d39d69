"""The client app: ten clients train at their own pace; from some round on one of them has a program that runs wild."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from heflwr.automon import fleet

Array = NDArray[np.float64]
HELD_OUT = 397
CALL_SECONDS = 0.6
"""How long a call takes: clients wait for their sensors most of the time."""
SLICE_SECONDS = 0.03
LEARNING_RATE = 0.2

WILD_CLIENT = 7
WILD_ROUND = 5

WATCH = [
    fleet.mean("cpu_usage", bound=2.0),
    fleet.coefficient_of_variation("cpu_usage", bound=0.25),
    fleet.smooth_max("cpu_usage", temperature=3.0, bound=5.0),
    fleet.total("cpu_seconds", bound=0.5),
]
"""What is watched, on both sides: the same list."""

app = ClientApp()


def busy_share(client: int) -> float:
    """Return the share of a call in which a client computes: 0.2 to 0.38."""
    return 0.2 + 0.02 * client


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on this client's share of the digits, a slice of time after the other."""
    client, clients = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    is_wild = client == WILD_CLIENT and int(message.content["config"]["server-round"]) >= WILD_ROUND
    pixels, digits = (part[HELD_OUT + client :: clients] for part in _digits())
    weights, bias = (array.copy() for array in message.content["arrays"].to_numpy_ndarrays())
    busy = 1.0 if is_wild else busy_share(client)
    end = time.perf_counter() + CALL_SECONDS
    while time.perf_counter() < end:
        stop = time.thread_time() + busy * SLICE_SECONDS
        rest = time.perf_counter() + SLICE_SECONDS
        error = _softmax(pixels @ weights + bias) - np.eye(10)[digits]
        weights -= LEARNING_RATE * pixels.T @ error / len(digits)
        bias -= LEARNING_RATE * error.mean(axis=0)
        while time.thread_time() < stop:
            pass  # what else runs beside the training
        time.sleep(max(0.0, rest - time.perf_counter()))
    reply = {"arrays": ArrayRecord([weights, bias]), "metrics": MetricRecord({"num-examples": len(digits)})}
    return Message(RecordDict(reply), reply_to=message)


def new_model() -> list[Array]:
    """Return the arrays that round 1 starts from."""
    return [np.zeros((64, 10)), np.zeros(10)]


def accuracy(model: list[Array]) -> float:
    """Return the share of the held-out digits that a model tells apart."""
    pixels, digits = (part[:HELD_OUT] for part in _digits())
    weights, bias = model
    return float(((pixels @ weights + bias).argmax(axis=1) == digits).mean())


@cache
def _digits() -> tuple[Array, NDArray[np.int64]]:
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    return pixels[order] / 16.0, digits[order]


def _softmax(scores: Array) -> Array:
    powers: Array = np.exp(scores - scores.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers
