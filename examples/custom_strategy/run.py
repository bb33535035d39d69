"""Energy-aware selection beside random selection, in one simulation: `python run.py --out out/custom_strategy`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path

NODES = 10
PER_ROUND = 4
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
    """Run both strategies and report; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/custom_strategy"), help="folder for histories and picture"
    )
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)

    os.environ.update(QUIET_AND_OFFLINE, FLWR_HOME=str(out / "flwr-home"))
    warnings.simplefilter("ignore", DeprecationWarning)
    from apps import accuracy, app, new_model
    from flwr.app import ArrayRecord, Context, MetricRecord
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation
    from strategy import CheapestFirst

    from heflwr.flower import History, MonitoredGrid, monitored

    logging.getLogger("flwr").setLevel(logging.ERROR)
    histories: dict[str, History] = {}
    scores: dict[str, list[float]] = {}
    server = ServerApp()

    @server.main()
    def both(grid: Grid, context: Context) -> None:
        strategies = {
            "random": FedAvg(
                fraction_train=PER_ROUND / NODES,
                fraction_evaluate=0.0,
                min_train_nodes=PER_ROUND,
                min_available_nodes=NODES,
            ),
            "cheapest first": CheapestFirst(PER_ROUND, min_available_nodes=NODES),
        }
        for name, strategy in strategies.items():
            scores[name] = []

            def evaluate(round_number: int, arrays: ArrayRecord, name: str = name) -> MetricRecord:
                score = accuracy(arrays.to_numpy_ndarrays())
                scores[name].append(score)
                histories[name].note(round_number, accuracy=score)
                return MetricRecord({"accuracy": score})

            histories[name] = History()
            with MonitoredGrid(grid, history=histories[name]) as watched:
                strategy.start(
                    watched,
                    initial_arrays=ArrayRecord(new_model()),
                    num_rounds=options.rounds,
                    evaluate_fn=evaluate,
                )

    print(
        f"{options.rounds} rounds with {PER_ROUND} of {NODES} nodes, twice; Flower starts its workers ...", flush=True
    )
    run_simulation(
        server,
        monitored(app),
        num_supernodes=NODES,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False},
        },
    )
    print(f"{'':16}{'accuracy':>9}{'CPU s':>8}{'joules':>9}   calls of node 0, 1, 2, ...")
    for name, history in histories.items():
        spent = sum(entry.cost["cpu_seconds"] for entry in history.entries)
        joules = [entry.cost["energy_joules"] for entry in history.entries if "energy_joules" in entry.cost]
        energy = f"{sum(joules):.0f}" if joules else "-"
        calls = [sum(entry.name == str(node) for entry in history.entries) for node in range(NODES)]
        print(f"{name:16}{scores[name][-1]:9.3f}{spent:8.2f}{energy:>9}   {calls}")
        history.save(out / f"{name.replace(' ', '-')}.jsonl")
    draw(histories, scores, out / "strategies.png")
    print(f"picture  {out / 'strategies.png'}")
    return 0


def draw(histories: dict, scores: dict, image: Path) -> None:
    """Draw accuracy against what was spent to get there."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (curve, bars) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for place, (name, history) in enumerate(histories.items()):
        spent = [0.0]
        for number in range(1, len(scores[name])):
            spent.append(spent[-1] + sum(e.cost["cpu_seconds"] for e in history.entries if e.round == number))
        colour = ("#7a7f87", "#3a9a6b")[place]
        curve.plot(spent, scores[name], marker="o", markersize=4, color=colour, label=name)
        heights = [sum(e.cost["cpu_seconds"] for e in history.entries if e.name == str(n)) for n in range(NODES)]
        bars.bar([n + 0.4 * place - 0.2 for n in range(NODES)], heights, width=0.4, color=colour, label=name)
    curve.set(xlabel="CPU seconds of all clients", ylabel="accuracy on held-out digits")
    curve.set_title("What the accuracy cost", loc="left", fontweight="bold")
    bars.set(xlabel="node (a higher one is slower)", ylabel="CPU seconds", xticks=range(NODES))
    bars.set_title("Who paid for it", loc="left", fontweight="bold")
    for axes in (curve, bars):
        axes.legend(frameon=False)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(image, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
