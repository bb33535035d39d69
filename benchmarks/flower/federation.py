"""Run one simulation of ten nodes and print what it took as JSON: `python federation.py with|without ROUNDS`."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402

from heflwr.flower import monitored  # noqa: E402

NODES = 10
STEPS = 400

client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    before = time.process_time()
    values = np.ones((120, 120))
    for _ in range(STEPS):
        values = np.tanh(values @ values / 120)
    metrics = MetricRecord({"num-examples": 1, "cpu": time.process_time() - before})
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)


@client.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


def main() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    kind, rounds = sys.argv[1], int(sys.argv[2])
    server = ServerApp()
    result = {"seconds": 0.0, "client_cpu_seconds": 0.0}

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        everyone = {"min_train_nodes": NODES, "min_evaluate_nodes": NODES, "min_available_nodes": NODES}

        def total(replies: list[RecordDict], weight: str) -> MetricRecord:
            result["client_cpu_seconds"] += sum(float(reply["metrics"]["cpu"]) for reply in replies)
            return MetricRecord({weight: len(replies)})

        arrays = ArrayRecord([np.zeros((1000, 100))])
        FedAvg(**everyone).start(grid, initial_arrays=arrays, num_rounds=1)  # starts the workers
        begun = time.perf_counter()
        FedAvg(train_metrics_aggr_fn=total, **everyone).start(grid, initial_arrays=arrays, num_rounds=rounds)
        result["seconds"] = time.perf_counter() - begun

    run_simulation(
        monitored(server) if kind == "with" else server,
        monitored(client) if kind == "with" else client,
        num_supernodes=NODES,
        backend_config={
            "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
            "init_args": {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False},
        },
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
