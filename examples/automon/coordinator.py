"""Knows how unevenly the fleet is loaded, within a bound: `python coordinator.py --nodes 3`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

import zmq
from task import function, setting

from heflwr.automon import Answer
from heflwr.automon.errors import AutomonError
from heflwr.automon.transports.zeromq import CoordinatorEndpoint

STEP_SECONDS = 0.2
"""How long a signal may wait to be looked at."""


def main() -> int:
    """Print the answer whenever it changes, until a signal comes; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=int(setting("NODES", "3")), help="how many are waited for")
    parser.add_argument("--bound", type=float, default=float(setting("BOUND", "0.01")), help="of the answer's error")
    parser.add_argument("--address", default=setting("ADDRESS", "tcp://127.0.0.1:5571"), help="where to listen")
    parser.add_argument("--lease", type=float, default=float(setting("LEASE", "10")), help="seconds of silence")
    parser.add_argument("--state", type=Path, default=Path(setting("STATE", "state")), help="folder of the checkpoint")
    options = parser.parse_args()

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        options.state.mkdir(parents=True, exist_ok=True)
        endpoint = CoordinatorEndpoint(
            function(),
            options.nodes,
            options.bound,
            options.address,
            lease_seconds=options.lease,
            checkpoint=options.state / "coordinator.state",
        )
        with endpoint:
            print(f"listening on {endpoint.address}", flush=True)
            last = ""
            while not stop.is_set():
                endpoint.step(STEP_SECONDS)
                if endpoint.answer.is_quiescent and (line := described(endpoint.answer)) != last:
                    print(line, flush=True)
                    last = line
    except (AutomonError, OSError, ValueError, zmq.ZMQError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("ended; the state is kept", flush=True)
    return 0


def described(answer: Answer) -> str:
    """Return an answer in a line."""
    line = f"imbalance {answer.value:.4f} within {answer.bound:g} ({answer.guarantee.value}), {answer.live} nodes"
    for count, what in ((answer.stale, "stale"), (answer.lost, "lost")):
        line += f", {count} {what}" if count else ""
    return line


if __name__ == "__main__":
    sys.exit(main())
