"""The server: federated averaging, the accuracy after each round, and a ledger of what every client spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import task
from client_app import RECORD
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

Ledger = list[dict[str, Any]]
"""What each client measured in each round, an entry a reply."""


def make_server(clients: int, rounds: int, logs: Path, ledger: Ledger, accuracies: list[float]) -> ServerApp:
    """Return the app.

    Args:
        clients: How many must take part in every round.
        rounds: How many rounds to run.
        logs: Folder for the clients' samples. Here all share a disk; elsewhere each client has its own.
        ledger: Gets what the clients measured.
        accuracies: Gets the accuracy on held-out examples, before the first round and after each.
    """
    app = ServerApp()

    def gather(replies: list[RecordDict], weight_key: str) -> MetricRecord:
        """Take the measurements out of a round's replies; FedAvg calls this to combine their metrics."""
        ledger.extend(dict(reply[RECORD]) for reply in replies)
        return MetricRecord({weight_key: sum(int(reply["metrics"][weight_key]) for reply in replies)})

    def evaluate(round_number: int, arrays: ArrayRecord) -> MetricRecord:
        accuracy = task.accuracy(arrays.to_numpy_ndarrays(), *task.held_out())
        accuracies.append(accuracy)
        spent = [entry for entry in ledger if entry["round"] == round_number]
        cost = f"  {len(spent)} clients  {sum(e['cpu_seconds'] for e in spent):5.2f} CPU seconds" if spent else ""
        print(f"round {round_number}  accuracy {accuracy:.3f}{cost}", flush=True)
        return MetricRecord({"accuracy": accuracy})

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(
            fraction_evaluate=0.0,
            min_train_nodes=clients,
            min_available_nodes=clients,
            train_metrics_aggr_fn=gather,
        )
        strategy.start(
            grid,
            initial_arrays=ArrayRecord(task.new_model()),
            num_rounds=rounds,
            train_config=ConfigRecord({"log-folder": str(logs)}),
            evaluate_fn=evaluate,
        )

    return app
