"""Measure what heflwr.flower costs: the same apps watched and not, in turn, in one run of about six minutes."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FEDERATION = Path(__file__).with_name("federation.py")
CALLS = Path(__file__).with_name("calls.py")

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def main() -> int:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flower", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="simulations of each kind")
    parser.add_argument("--smoke", action="store_true", help="half a minute; figures mean nothing")
    parser.add_argument("--output", type=Path, default=Path("out/bench/flower"), help="directory of the results")
    options = parser.parse_args()
    runs, rounds, calls = (1, 2, 20) if options.smoke else (options.runs, 10, 200)
    options.output.mkdir(parents=True, exist_ok=True)

    called = _json([sys.executable, str(CALLS), str(calls)])
    lines = [
        "One message, handled by a ClientApp in this process (milliseconds, medians; the middle half in brackets)",
        "",
        "| call | without | with the mod | the mod's own share | added | reply grows by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in called:
        lines.append(
            f"| {row['name']} | {_spread(row['without'])} | {_spread(row['with'])} | {_spread(row['own'])} "
            f"| {row['added']:.2f} ms, {100 * row['added'] / statistics.median(row['without']):.1f} % "
            f"| {row['bytes']} bytes |"
        )

    seconds: dict[str, list[float]] = {"without": [], "with": []}
    cpu: dict[str, list[float]] = {"without": [], "with": []}
    for number in range(runs):
        for kind in ("without", "with") if number % 2 == 0 else ("with", "without"):
            result = _json([sys.executable, str(FEDERATION), kind, str(rounds)])
            seconds[kind].append(result["seconds"])
            cpu[kind].append(result["client_cpu_seconds"])
            print(f"simulation {number + 1} of {runs}, {kind} heflwr: {result['seconds']:.2f} s", flush=True)
    lines += [
        "",
        f"A simulation of 10 nodes and {rounds} rounds ({runs} runs of each kind, in turn; medians and middle half)",
        "",
        "| | without | with | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for name, values in (("wall seconds, rounds only", seconds), ("CPU seconds of the clients' calls", cpu)):
        ratio = statistics.median(values["with"]) / statistics.median(values["without"])
        lines.append(f"| {name} | {_spread(values['without'])} | {_spread(values['with'])} | {ratio:.3f} |")
    text = "\n".join(lines)
    (options.output / "results.md").write_text(text + "\n")
    (options.output / "results.json").write_text(json.dumps({"calls": called, "seconds": seconds, "cpu": cpu}))
    print(f"\n{text}\n\n{options.output / 'results.md'}")
    return 0


def _json(command: Sequence[str]) -> list | dict:
    """Return what a script prints last, as JSON."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | _QUIET | {"FLWR_HOME": home}
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{command[1]} failed:\n{run.stderr[-4000:]}")
    return json.loads(run.stdout.strip().splitlines()[-1])


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
