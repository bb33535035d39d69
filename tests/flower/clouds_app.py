"""A small app that really learns: which of ten clouds a point is from, by softmax regression, spread over the nodes."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy

POINTS, SIZE, CLOUDS = 1800, 64, 10


def new_model() -> ArrayRecord:
    return ArrayRecord([np.zeros((SIZE, CLOUDS)), np.zeros(CLOUDS)])


@functools.cache
def clouds() -> tuple[Any, Any]:
    """Return all points and which cloud each is from; neighbouring clouds overlap."""
    draw = np.random.default_rng(7)
    origins = np.arange(POINTS) % CLOUDS
    return draw.random((CLOUDS, SIZE))[origins] + draw.normal(0.0, 0.5, (POINTS, SIZE)), origins


def part(context: Context) -> tuple[Any, Any]:
    points, origins = clouds()
    own, of = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    return points[own::of], origins[own::of]


def client(**options: Any) -> ClientApp:
    """Return a ClientApp; its functions are registered in decorator style."""
    app = ClientApp(**options)
    register(app)
    return app


def register(app: ClientApp) -> None:
    @app.train()
    def train(message: Message, context: Context) -> Message:
        weights, bias = (array.copy() for array in message.content["arrays"].to_numpy_ndarrays())
        points, origins = part(context)
        for _ in range(20):
            powers = np.exp(points @ weights + bias)
            error = powers / powers.sum(1, keepdims=True) - np.eye(CLOUDS)[origins]
            weights -= 0.5 * points.T @ error / len(origins)
            bias -= 0.5 * error.mean(0)
        metrics = MetricRecord({"num-examples": len(origins), "loss": float((error**2).mean())})
        return Message(RecordDict({"arrays": ArrayRecord([weights, bias]), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        weights, bias = message.content["arrays"].to_numpy_ndarrays()
        points, origins = part(context)
        right = ((points @ weights + bias).argmax(1) == origins).mean()
        metrics = MetricRecord({"num-examples": len(origins), "accuracy": float(right)})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)


class Learned:
    """What a server app ends up with."""

    def __init__(self) -> None:
        self.grid: Grid | None = None
        self.arrays: list[Any] = []
        self.metrics: dict[int, dict[str, Any]] = {}

    @property
    def bits(self) -> list[bytes]:
        return [array.tobytes() for array in self.arrays]


def server(learned: Learned, strategy: Strategy | None = None, nodes: int = 3, rounds: int = 2) -> ServerApp:
    """Return a ServerApp; the same seed picks the same nodes in the same order."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        random.seed(3)
        learned.grid = grid
        chosen = strategy or FedAvg(min_train_nodes=nodes, min_evaluate_nodes=nodes, min_available_nodes=nodes)
        result = chosen.start(
            grid, initial_arrays=new_model(), num_rounds=rounds, train_config=ConfigRecord({"lr": 0.5})
        )
        learned.arrays = result.arrays.to_numpy_ndarrays()
        learned.metrics = {number: dict(record) for number, record in result.evaluate_metrics_clientapp.items()}

    return app
