"""A whole Flower deployment on one machine, every client monitored: `python run.py --out out/deployment`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Any

from federation import Federation, FederationError

from heflwr.flower import Entry, History

CLIENTS = 3
ROUNDS = 3
LEAST_ACCURACY = 0.85
"""Below, something is wrong with the training, and with it the example."""

APP = Path(__file__).parent


def main() -> int:
    """Bring everything up, run the federation, report, take everything down; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/deployment"), help="folder for all that is written")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of training (default: {ROUNDS})")
    options = parser.parse_args()
    out = options.out.absolute()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, _leave)

    print(f"{CLIENTS} SuperNodes, a SuperLink and a collector start; logs in {out / 'logs'}", flush=True)
    begun = time.monotonic()
    try:
        with Federation(out, CLIENTS) as federation:
            print(
                f"collector on {federation.collector}; the run begins after {time.monotonic() - begun:.0f} s",
                flush=True,
            )
            for line in federation.run(APP, rounds=options.rounds, clients=CLIENTS, out=str(out)):
                if line.startswith("round "):
                    print(line, end="", flush=True)
            clients = _clients(federation.collector, federation.token)
    except FederationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    history = History.load(out / "history.jsonl")
    print(f"\nCPU seconds of every client's training, by round:\n{cost_table(history)}")
    print("\nwhat the collector has of the agents, which sample each SuperNode all the time:")
    print(client_table(clients, history))
    print(f"\nhistory  {out / 'history.jsonl'}")
    print(f"picture  {out / 'federation.png'}")
    print(f"samples  {out / 'samples'}/client-*.jsonl")
    print(f"the whole run took {time.monotonic() - begun:.0f} s; everything has ended")
    accuracy = history.scores[options.rounds]["accuracy"]
    if accuracy < LEAST_ACCURACY:
        print(f"accuracy {accuracy:.3f} is below {LEAST_ACCURACY}", file=sys.stderr)
        return 1
    return 0


def cost_table(history: History) -> str:
    """Return a line a client: its training's CPU seconds in each round, then sums and peaks over all rounds."""
    rounds = sorted({entry.round for entry in history.entries})
    lines = [["client", *(f"round {number}" for number in rounds), "all", "wall s", "peak MB", "start-up", "between"]]
    for name in sorted({entry.name for entry in history.entries}):
        entries = [entry for entry in history.entries if entry.name == name]

        def total(column: str, number: int = 0, entries: list[Entry] = entries) -> float:
            return sum(entry.cost.get(column, 0.0) for entry in entries if number in (0, entry.round))

        peak = max(entry.cost.get("memory_peak_bytes", 0.0) for entry in entries)
        lines.append(
            [
                name,
                *(f"{total('cpu_seconds', number):.2f}" for number in rounds),
                f"{total('cpu_seconds'):.2f}",
                f"{total('seconds'):.2f}",
                f"{peak / 1e6:.0f}",
                f"{total('startup_cpu_seconds'):.2f}",
                f"{total('idle_cpu_seconds'):.2f}",
            ]
        )
    return _aligned(lines)


def client_table(clients: list[dict[str, Any]], history: History) -> str:
    """Return a line a client of the collector; those of other runs, which it remembers too, are left out."""
    identifiers = {f"node {entry.name}" for entry in history.entries}
    lines = [["client", "samples", "seconds", "host", "SuperNode"]]
    for client in sorted(clients, key=lambda client: client["identifier"]):
        identifier, about, seconds = client["identifier"], client["about"], client["last"] - client["first"]
        if identifier in identifiers:
            line = (identifier.removeprefix("node "), client["samples"], f"{seconds:.1f}", about["host"], about["pid"])
            lines.append([str(cell) for cell in line])
    return _aligned(lines)


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _clients(collector: str, token: str) -> list[dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    opener.addheaders = [("Authorization", f"Bearer {token}")]
    with opener.open(f"{collector}/api/v1/clients", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["clients"]
    return found


def _leave(number: int, frame: FrameType | None) -> None:
    """End as if we had come to the end: everything that was started is taken down on the way out."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)  # an impatient second Ctrl-C must not stop that half-way
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
