"""Measure heflwr's monitors beside a bare floor, a psutil loop and other people's, in one run of about eight minutes.

Peers are installed into `.bench/` on the first run; those that cannot be had are left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import machine
from .candidates import CANDIDATES, ENTRIES, SINKS
from .goals import judge
from .measures import (
    FULL,
    QUICK,
    SMOKE,
    Bench,
    Effort,
    measure_imports,
    measure_latencies,
    measure_lives,
    measure_million,
    measure_readings,
    measure_slowdown,
    measure_together,
)
from .peers import Environments, prepare
from .plot import draw
from .report import markdown
from .watched import is_available

_PRESETS: dict[str, Effort] = {"full": FULL, "quick": QUICK, "smoke": SMOKE}

_SLOWED_AT_1 = ("nothing", "heflwr-thread", "heflwr-process")
_SLOWED_AT_01 = (*_SLOWED_AT_1, "psutil", "codecarbon", "opentelemetry")
"""Who takes part in the workload: peers only where a difference can show."""


class _Taker(BaseHTTPRequestHandler):
    """A collector that keeps nothing: gives a receipt for all rows that are posted (see docs/collector.md).

    It runs in the benchmark's own process, and its cost is in nobody's figures.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        receipt = json.dumps({"accepted": len(json.loads(body)["rows"]), "duplicates": 0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(receipt)))
        self.end_headers()
        self.wfile.write(receipt)

    def log_message(self, format: str, *args: Any) -> None: ...


def main() -> int:
    """Run the benchmark; the exit code tells whether heflwr was measured, not what the figures are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="preset", action="store_const", const="quick", help="about two minutes")
    size.add_argument(
        "--smoke", dest="preset", action="store_const", const="smoke", help="seconds; figures mean nothing"
    )
    parser.add_argument("--no-peers", action="store_true", help="heflwr, the floor and psutil only; no network needed")
    parser.add_argument("--output", type=Path, default=Path("out/bench/monitor"), help="directory of the results")
    arguments = parser.parse_args()
    preset = arguments.preset or "full"
    root = Path(__file__).parents[2]
    environments = Environments(None, None, {}, []) if arguments.no_peers else prepare(root / ".bench")
    collector = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="heflwr-bench-") as scratch:
        address = f"127.0.0.1:{collector.server_address[1]}"
        results = _measure(_PRESETS[preset], preset, environments, Path(scratch), address)
    collector.shutdown()
    text = markdown(results)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.md").write_text(text)
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, arguments.output / "results.png")
    print(text)
    print(f"written: {arguments.output}/results.md, results.json, results.png")
    ours = [line for line in results["skipped"] if line.startswith("heflwr, ")]
    if ours:
        print("heflwr itself was not measured whole: " + "; ".join(ours), file=sys.stderr)
    return 1 if ours else 0


def _measure(effort: Effort, preset: str, environments: Environments, scratch: Path, collector: str) -> dict[str, Any]:
    began = time.monotonic()
    before = machine.busy_and_stolen()
    skipped = list(environments.absent)
    names = []
    for name, entry in CANDIDATES.items():
        if entry.home == "ancestor" and preset == "quick":
            skipped.append(f"{entry.label}: left out of quick runs, its first sample takes five seconds")
        elif reason := is_available(entry, environments):
            skipped.append(f"{entry.label}: {reason}")
        else:
            names.append(name)
    bench = Bench(names, effort, environments, scratch, collector)
    results: dict[str, Any] = {"candidates": [*names, *SINKS]}

    def step(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    step("one reading")
    results["readings"] = measure_readings(bench)
    step("imports")
    results["imports"] = measure_imports(bench)
    step("CPU at 1 s, all at once")
    results["together"] = measure_together(bench)
    step("CPU at 0.1 s and 0.01 s, one after the other")
    results["lives"] = measure_lives(bench, names, effort.rounds, (0.1, 0.01))
    step("other destinations")
    results["lives"] |= measure_lives(bench, SINKS, max(1, effort.rounds - 1), (0.1,))
    step("start() and stop()")
    results["latencies"] = measure_latencies(bench)
    step("slowdown of a computation")
    results["slowdown"] = {
        "1": measure_slowdown(bench, 1.0, _SLOWED_AT_1),
        "0.1": measure_slowdown(bench, 0.1, [name for name in _SLOWED_AT_01 if name in (*names, "nothing")]),
    }
    step("a long run")
    results["million"] = measure_million(bench)
    after = machine.busy_and_stolen()
    busy, stolen, total = (late - early for late, early in zip(after, before, strict=True))
    results["machine"] = machine.facts() | {
        "busy_percent": 100 * busy / total,
        "stolen_percent": 100 * stolen / total,
    }
    results["settings"] = {"preset": preset}
    results["seconds"] = time.monotonic() - began
    results["versions"] = environments.versions
    results["skipped"] = skipped + sorted(set(bench.failed))
    results["labels"] = {name: ENTRIES[name].label for name in results["candidates"]}
    results["goals"] = [
        {
            "goal": verdict.goal.name,
            "unit": verdict.goal.unit,
            "bound": verdict.goal.bound,
            "figure": verdict.figure,
            "outcome": verdict.outcome,
        }
        for verdict in judge(results)
    ]
    return results


if __name__ == "__main__":
    sys.exit(main())
