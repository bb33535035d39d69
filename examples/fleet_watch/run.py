"""Ten clients, one goes wild in round 5: what the server hears, and what it knows. `python run.py --out out/watch`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path

CLIENTS = 10
QUIET_AND_OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def main() -> int:
    """Run the federation and report; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/fleet_watch"), help="folder for history and picture")
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)

    os.environ.update(QUIET_AND_OFFLINE, FLWR_HOME=str(out / "flwr-home"))
    warnings.simplefilter("ignore", DeprecationWarning)
    from apps import WATCH, WILD_CLIENT, WILD_ROUND, accuracy, app, new_model
    from flwr.app import ArrayRecord, Context, MetricRecord
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation
    from picture import draw

    from heflwr.automon import Answer
    from heflwr.flower import monitored

    logging.getLogger("flwr").setLevel(logging.ERROR)
    alarms: list[str] = []

    def alarm(answer: Answer) -> None:
        alarms.append(f"after round {answer.as_of}: for certain, the busiest client is above 40 % of its machine")

    server_app = ServerApp()

    @server_app.main()
    def train(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS)

        def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
            score = accuracy(arrays.to_numpy_ndarrays())
            server.history.note(number, accuracy=score)
            return MetricRecord({"accuracy": score})

        arrays = ArrayRecord(new_model())
        strategy.start(grid, initial_arrays=arrays, num_rounds=options.rounds, evaluate_fn=evaluate)

    watch = [m.when(above=40.0, certain=True, call=alarm) if m.name.startswith("smooth") else m for m in WATCH]
    server = monitored(server_app, watch=watch)
    client = monitored(app, watch=WATCH)
    print(f"{options.rounds} rounds with {CLIENTS} clients; client {WILD_CLIENT} runs wild from round {WILD_ROUND} on")
    print("Flower starts its workers ...", flush=True)
    run_simulation(
        server,
        client,
        num_supernodes=CLIENTS,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False},
        },
    )

    names = [measure.name for measure in WATCH]
    clients = {entry.node: entry.name for entry in server.history.entries}
    rounds = sorted({settled.round for settled in server.fleet.log})
    series: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    reports, everyone = [], []
    print("\nround  reports  who reported (client: how many of the functions)")
    for number in rounds:
        settled = {one.name: one for one in server.fleet.log if one.round == number}
        told: dict[str, int] = {}
        for one in settled.values():
            for node in one.reporters:
                told[clients[node]] = told.get(clients[node], 0) + 1
        who = ", ".join(f"{name}: {count}" for name, count in sorted(told.items())) or "nobody"
        print(f"{number:5}  {sum(told.values()):7}  {who}")
        reports.append(sum(one.reports for one in settled.values()))
        everyone.append(sum(one.replies for one in settled.values()))
        for measure in WATCH:
            answer = settled[measure.name].answer
            truth = truth_of(measure, server.history, number)
            series[measure.name].append((number, answer.value, answer.bound, truth))

    print(f"\n{'function':38}{'value':>8}{'bound':>8}{'truth':>8}  guarantee   largest |value - truth| / bound")
    for measure in WATCH:
        number, value, bound, truth = series[measure.name][-1]
        worst = max(abs(v - t) / b if b else float(v != t) for _, v, b, t in series[measure.name] if v == v)
        answer = server.fleet[measure.name]
        print(f"{measure.name:38}{value:8.2f}{bound:8.2f}{truth:8.2f}  {answer.guarantee.value:10}  {worst:.2f}")
    for line in alarms:
        print(f"alarm    {line}")
    print(f"reports  {reports[-1]} of {everyone[-1]} that every client would have sent in every round")
    print(f"bytes    {server.fleet.bytes_sent} to the clients, {server.fleet.bytes_received} from them")
    for fault, times in server.fleet.faults.items():
        print(f"fault    {times} times: {fault}")
    server.history.save(out / "history.jsonl")
    draw(names, [measure.unit for measure in WATCH], series, reports, everyone, out / "watch.png")
    print(f"picture  {out / 'watch.png'}")
    return 0


def truth_of(measure, history, number: int) -> float:
    """Return the function of what every client measured last, from the costs that the history has aside."""
    import numpy as np

    latest = {}
    for entry in history.entries:
        if entry.round <= number and entry.kind == "train" and entry.cost:
            latest[entry.node] = measure.vector(entry.cost)
    value = measure.function.value(np.mean(list(latest.values()), axis=0))
    return value * (len(latest) if measure.is_total else 1)


if __name__ == "__main__":
    sys.exit(main())
