"""Runs Flower's simulation on nodes with known costs: `python burning_simulation.py ACTORS NODES ROUNDS FOLDER`.

Node 0 burns 0.2 s of CPU, node 1 0.5 s, node 2 1.0 s in a call; node 3 multiplies matrices on threads of BLAS, node 4
lets a child compute for 0.5 s, the others nothing. What nodes know of their own cost goes along as a metric.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

os.environ.update(
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402

from heflwr.automon import fleet  # noqa: E402
from heflwr.flower import monitored  # noqa: E402

BURNS = (0.2, 0.5, 1.0)
CHILD_SECONDS = 0.5
WATCH = [fleet.mean("cpu_seconds", bound=0.05), fleet.total("seconds", bound=1.0)]
CHILD = f"import time\nwhile time.process_time() < {CHILD_SECONDS}: pass"

client = ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    node = int(context.node_config["partition-id"])
    before = resource.getrusage(resource.RUSAGE_CHILDREN), time.thread_time(), time.process_time()
    if node < len(BURNS):
        until = time.thread_time() + BURNS[node]
        while time.thread_time() < until:
            pass
    elif node == 3:
        matrix = np.random.default_rng(0).random((1000, 1000))
        until = time.process_time() + 0.5
        while time.process_time() < until:
            matrix = matrix @ matrix / 1e3
    elif node == 4:
        subprocess.run([sys.executable, "-S", "-c", CHILD], check=True)
    children, thread, process = resource.getrusage(resource.RUSAGE_CHILDREN), time.thread_time(), time.process_time()
    known = process - before[2] if node == 3 else thread - before[1]
    known += children.ru_utime + children.ru_stime - before[0].ru_utime - before[0].ru_stime
    metrics = MetricRecord({"num-examples": 1, "known": known})
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)


def main() -> None:
    actors, nodes, rounds = map(int, sys.argv[1:4])
    server = ServerApp()

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
        strategy.start(grid, initial_arrays=ArrayRecord([np.zeros(10)]), num_rounds=rounds)

    app = monitored(server, watch=WATCH)
    run_simulation(
        app,
        monitored(client, watch=WATCH, warm_up=0),
        num_supernodes=nodes,
        backend_config={
            "client_resources": {"num_cpus": 1.0, "num_gpus": 0.0},
            "init_args": {"num_cpus": actors, "log_to_driver": False, "include_dashboard": False},
        },
    )
    folder = Path(sys.argv[4])
    app.history.save(folder / "history.jsonl")
    log = [[one.name, one.round, one.answer.value, one.answer.bound, one.answer.live] for one in app.fleet.log]
    told = {"log": log, "faults": app.fleet.faults, "replies": app.fleet.replies}
    (folder / "fleet.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
