"""A federation of ten clients on one machine, every call of every client measured: `python run.py --out out/demo`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from pathlib import Path

CLIENTS = 10
ROUNDS = 5
LEAST_ACCURACY = 0.85
"""Below, something is wrong with the training, and with it the demo."""

QUIET_AND_OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray would otherwise warn about at every start
    "OMP_NUM_THREADS": "1",  # one thread for each client: so many clients share the cores
    "OPENBLAS_NUM_THREADS": "1",
}


def main() -> int:
    """Run the federation and report; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for samples and the picture")
    out = parser.parse_args().out.absolute()
    logs = out / "clients"
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.glob("client-*.json*"):  # of an earlier run of this demo: a FileMonitor appends
        old.unlink()

    # Before anything of Flower is imported: it reads these when it is.
    os.environ.update(QUIET_AND_OFFLINE, FLWR_HOME=str(out / "flwr-home"))
    warnings.simplefilter("ignore", DeprecationWarning)  # run_simulation is on its way out; `flwr run` needs a project
    from client_app import app as client_app
    from flwr.simulation import run_simulation
    from report import client_table, picture, rounds_table, sample_stats
    from server_app import make_server

    logging.getLogger("flwr").setLevel(logging.ERROR)
    print(f"{CLIENTS} clients, {ROUNDS} rounds on scikit-learn's digits; Flower starts its workers ...", flush=True)
    begun = time.monotonic()
    history_file = out / "history.jsonl"
    history_file.unlink(missing_ok=True)  # of an earlier run: a HistoryFile appends
    server_app = make_server(CLIENTS, ROUNDS, logs, history_file)
    run_simulation(
        server_app,
        client_app,
        num_supernodes=CLIENTS,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": False},
        },
    )
    history = server_app.history
    reports = history.summary()["reports"]
    if reports != CLIENTS * ROUNDS:
        print(f"the run failed: {reports} of {CLIENTS * ROUNDS} client results came in", file=sys.stderr)
        return 1

    print(f"\nsummary() of every client over {ROUNDS} rounds:\n{client_table(history)}")
    print(f"\n{sample_stats(logs / f'client-{CLIENTS - 1:02}.json')}")
    print(f"\nsummary() of every round:\n{rounds_table(history)}")
    picture(history, out / "federation.png")
    history.plot(out / "rounds.png")
    print(f"\nsamples of every client  {logs}/client-*.jsonl   (try: heflwr plot {logs}/client-09.jsonl --all)")
    print(f"every message's cost     {history_file}")
    print(f"pictures                 {out / 'federation.png'}, {out / 'rounds.png'}")
    print(f"the whole run took {time.monotonic() - begun:.0f} s")
    accuracy = history.scores[ROUNDS]["accuracy"]
    if accuracy < LEAST_ACCURACY:
        print(f"accuracy {accuracy:.3f} is below {LEAST_ACCURACY}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
