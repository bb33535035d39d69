"""A legacy Flower app (NumPyClient, server_fn), measured by one line on each side: `python run.py --out out/legacy`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path

CLIENTS = 5
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
    parser.add_argument("--out", type=Path, default=Path("out/legacy"), help="folder for the history and the picture")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    os.environ.update(QUIET_AND_OFFLINE, FLWR_HOME=str(out / "flwr-home"))
    warnings.simplefilter("ignore", DeprecationWarning)
    from apps import client_app, make_server
    from flwr.simulation import run_simulation

    from heflwr.flower import monitored

    logging.getLogger("flwr").setLevel(logging.ERROR)
    server_app = monitored(make_server(options.rounds, CLIENTS))  # one line here
    print(f"{CLIENTS} clients, {options.rounds} rounds; Flower starts its workers ...", flush=True)
    run_simulation(
        server_app,
        monitored(client_app),  # and one there
        num_supernodes=CLIENTS,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False},
        },
    )
    history = server_app.history
    print(f"{'round':>5} {'client':>6} {'call':8} {'wall s':>7} {'CPU s':>7} {'peak MiB':>9} {'accuracy':>9}")
    for entry in sorted(history.entries, key=lambda entry: (entry.round, entry.kind == "evaluate", entry.name)):
        cost, score = entry.cost, entry.metrics.get("accuracy")
        shown = f"{score:9.3f}" if score is not None else f"{'':9}"
        print(
            f"{entry.round:5} {entry.name:>6} {entry.kind:8} {cost['seconds']:7.2f} {cost['cpu_seconds']:7.2f} "
            f"{cost['memory_peak_bytes'] / 2**20:9.0f} {shown}"
        )
    history.save(out / "history.jsonl")
    history.plot(out / "rounds.png")
    print(f"history  {out / 'history.jsonl'}\npicture  {out / 'rounds.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
