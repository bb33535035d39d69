"""The server: federated averaging and the accuracy after each round. One line has it know what every client spent."""

from __future__ import annotations

from pathlib import Path

import task
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from heflwr.flower import HistoryFile, MonitoredGrid, MonitoredServer, monitored


def make_server(clients: int, rounds: int, logs: Path, history_file: Path) -> MonitoredServer:
    """Return the app; its `history` is what the run cost.

    Args:
        clients: How many must take part in every round.
        rounds: How many rounds to run.
        logs: Folder for the clients' samples. Here all share a disk; elsewhere each client has its own.
        history_file: Gets the history, line by line as the replies come in.
    """
    app = monitored(ServerApp(), sinks=[HistoryFile(history_file)])

    @app.main()
    def main(grid: MonitoredGrid, context: Context) -> None:
        def evaluate(round_number: int, arrays: ArrayRecord) -> MetricRecord:
            accuracy = task.accuracy(arrays.to_numpy_ndarrays(), *task.held_out())
            grid.history.note(round_number, accuracy=accuracy)
            costs = [entry.cost for entry in grid.history.entries if entry.round == round_number]
            spent = sum(cost.get("cpu_seconds", 0.0) for cost in costs)
            told = f"  {len(costs)} clients  {spent:5.2f} CPU seconds" if costs else ""
            print(f"round {round_number}  accuracy {accuracy:.3f}{told}", flush=True)
            return MetricRecord({"accuracy": accuracy})

        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
        strategy.start(
            grid,
            initial_arrays=ArrayRecord(task.new_model()),
            num_rounds=rounds,
            train_config=ConfigRecord({"log-folder": str(logs)}),
            evaluate_fn=evaluate,
        )

    return app
