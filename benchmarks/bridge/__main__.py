"""Record federations that learn digits, replay them and drawn fleets, print what silence saves; some two minutes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from heflwr.automon import fleet

from . import fleets, replay
from .fleets import Rounds

DIGITS = Path(__file__).with_name("digits.py")
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

RECORDED = [
    fleet.mean("cpu_seconds"),
    fleet.total("seconds"),
    fleet.coefficient_of_variation("cpu_seconds"),
    fleet.mean("memory_peak_bytes"),
]
DRAWN = [
    fleet.mean("cpu_usage"),
    fleet.total("seconds"),
    fleet.coefficient_of_variation("cpu_usage"),
    fleet.imbalance("cpu_usage"),
]


SMOOTH = 5
"""Calls that the smoothed measures are smoothed over."""


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="drawn fleets only, short ones; figures mean little")
    parser.add_argument("--record", action="store_true", help="record federations anew, also where there are some")
    parser.add_argument("--error", type=float, default=0.05, help="bound, as a share of the function's mean value")
    parser.add_argument("--output", type=Path, default=Path("out/bench/bridge"), help="directory of the results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    lines = [
        f"Reports at a bound of {100 * options.error:g} % of the function's mean value; periodic and on delta get the "
        "setting that was best afterwards, and promise nothing",
        "",
        "| fleet | function | everyone | bridge | ratio | max error / bound | exceptions | rounds within | periodic "
        "| on delta | bytes a reply |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rounds, measures in _workloads(options.smoke, options.output, options.record):
        for measure in [each for one in measures for each in (one, one.smoothed(SMOOTH))]:
            vectors = replay.vectors_of(measure, rounds)
            watched = replay.with_bound(measure, vectors, options.error)
            ours, all_told = replay.bridged(watched, vectors), replay.everyone(watched, vectors)
            periodic, delta = replay.periodic(watched, vectors), replay.on_delta(watched, vectors)
            error = ours.error / (watched.bound or 1.0)
            lines.append(
                f"| {name} | {measure.name} | {all_told.reports} | {ours.reports} "
                f"| {all_told.reports / ours.reports:.1f} | {error:.2f} | {ours.exceptions} "
                f"| {100 * ours.within:.0f} % | {periodic.reports} | {delta.reports} "
                f"| {ours.bytes / ours.replies:.0f} |"
            )
            print(lines[-1], flush=True)
    text = "\n".join(lines)
    (options.output / "results.md").write_text(text + "\n")
    print(f"\n{text}\n\n{options.output / 'results.md'}")
    return 0


def _workloads(is_smoke: bool, output: Path, is_recorded_anew: bool) -> list[tuple[str, Rounds, list[fleet.Measure]]]:
    found: list[tuple[str, Rounds, list[fleet.Measure]]] = []
    nodes, rounds = (10, 20) if is_smoke else (30, 100)
    for kind in ("steady", "drifting", "hostile"):
        for fraction in (1.0, 0.3):
            drawn = fleets.drawn(kind, nodes=nodes, rounds=rounds, fraction=fraction)
            found.append((f"{kind}, fraction {fraction:g}", drawn, DRAWN))
    if not is_smoke:
        for clients, count, fraction in ((10, 40, 1.0), (50, 20, 0.3)):
            name = f"digits, {clients} clients, fraction {fraction:g}"
            folder = output / f"digits-{clients}-{fraction:g}"
            if is_recorded_anew or not (folder / "history.jsonl").exists():
                print(f"{name}: {_record(clients, count, fraction, folder)}", flush=True)
            found.append((name, fleets.recorded(folder / "history.jsonl"), RECORDED))
    return found


def _record(clients: int, rounds: int, fraction: float, folder: Path) -> str:
    """Run a federation; return what the bridge took in it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(DIGITS), str(clients), str(rounds), str(fraction), str(folder)]
    with tempfile.TemporaryDirectory() as home:
        run = subprocess.run(
            command, env=os.environ | QUIET | {"FLWR_HOME": home}, capture_output=True, text=True, check=False
        )
    if run.returncode:
        raise SystemExit(f"{DIGITS.name} failed:\n{run.stderr[-4000:]}")
    told = json.loads(run.stdout.strip().splitlines()[-1])
    (folder / "live.json").write_text(json.dumps(told))
    return json.dumps(told)


if __name__ == "__main__":
    sys.exit(main())
