"""Record a real federation: `python digits.py CLIENTS ROUNDS FRACTION FOLDER` learns digits in Flower's simulation.

Leaves the history of every call's cost, to be replayed, and what the bridge itself knew and took meanwhile.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from heflwr.automon import fleet  # noqa: E402
from heflwr.flower import monitored  # noqa: E402

EPOCHS = 60
WATCH = [
    fleet.mean("cpu_seconds", bound=0.02),
    fleet.total("seconds", bound=0.5),
    fleet.coefficient_of_variation("cpu_seconds", bound=0.1),
    fleet.mean("memory_peak_bytes", bound=10e6),
]

client = ClientApp()


def part(own: int, of: int) -> tuple[Any, Any]:
    """A client's digits; clients have shares of different sizes, as in life."""
    pixels, digits = load_digits(return_X_y=True)
    ends = np.cumsum(np.arange(1, of + 1)) / (of * (of + 1) / 2) * len(digits)
    begin, end = int(ends[own - 1]) if own else 0, int(ends[own])
    return pixels[begin:end] / 16, digits[begin:end]


@client.train()
def train(message: Message, context: Context) -> Message:
    weights, bias = (array.copy() for array in message.content["arrays"].to_numpy_ndarrays())
    pixels, digits = part(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))
    for _ in range(EPOCHS):
        powers = np.exp(pixels @ weights + bias)
        error = powers / powers.sum(1, keepdims=True) - np.eye(10)[digits]
        weights -= 0.5 * pixels.T @ error / len(digits)
        bias -= 0.5 * error.mean(0)
    metrics = MetricRecord({"num-examples": len(digits)})
    return Message(RecordDict({"arrays": ArrayRecord([weights, bias]), "metrics": metrics}), reply_to=message)


def main() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    clients, rounds, fraction, folder = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    server = ServerApp()

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_train=fraction, fraction_evaluate=0.0, min_available_nodes=clients)
        strategy.start(grid, initial_arrays=ArrayRecord([np.zeros((64, 10)), np.zeros(10)]), num_rounds=rounds)

    app = monitored(server, watch=WATCH)
    run_simulation(
        app,
        monitored(client, watch=WATCH),
        num_supernodes=clients,
        backend_config={
            "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
            "init_args": {"num_cpus": 2, "log_to_driver": False, "include_dashboard": False},
        },
    )
    app.history.save(folder / "history.jsonl")
    traffic = {name: [one.reports, one.replies] for name, one in app.fleet.traffic.items()}
    told = {"traffic": traffic, "sent": app.fleet.bytes_sent, "received": app.fleet.bytes_received}
    messages = sum(entry.kind == "train" for entry in app.history.entries)
    extra = len(app.history.entries) - messages + app.fleet.queries
    print(json.dumps(told | {"faults": app.fleet.faults, "messages": messages, "extra_messages": extra}))


if __name__ == "__main__":
    main()
