"""The server: federated averaging, the accuracy after each round, and what every client's every call cost."""

from __future__ import annotations

import os
from pathlib import Path

import task
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from heflwr.flower import Gauges, MonitoredGrid, monitored

PORT = os.environ.get("HEFLWR_GAUGES_PORT")
"""Where Prometheus finds the rounds while a run goes on; nowhere where it is not set."""

app = monitored(ServerApp(), sinks=[Gauges(int(PORT))] if PORT else [])


@app.main()
def main(grid: MonitoredGrid, context: Context) -> None:
    """Run the rounds; leave the history and its picture in the folder `out` of the run's configuration."""
    clients, out = int(context.run_config["clients"]), Path(str(context.run_config["out"]))

    def evaluate(round_number: int, arrays: ArrayRecord) -> MetricRecord:
        accuracy = task.accuracy(arrays.to_numpy_ndarrays(), *task.held_out())
        grid.history.note(round_number, accuracy=accuracy)
        spent = sum(entry.cost.get("cpu_seconds", 0.0) for entry in grid.history.entries if entry.round == round_number)
        print(f"round {round_number}  accuracy {accuracy:.3f}  clients' CPU {spent:.2f} s", flush=True)
        return MetricRecord({"accuracy": accuracy})

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    strategy.start(
        grid,
        initial_arrays=ArrayRecord(task.new_model()),
        num_rounds=int(context.run_config["rounds"]),
        evaluate_fn=evaluate,
    )
    grid.history.save(out / "history.jsonl")
    grid.history.plot(out / "federation.png")
