"""Watches the load of one machine, and speaks only where the answer could be wrong: `python node.py --node 0`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import zmq
from task import function, setting, vector

from heflwr.automon.errors import AutomonError
from heflwr.automon.transports.zeromq import NodeEndpoint


def main() -> int:
    """Measure and update until a signal comes; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", type=int, default=int(setting("NODE", "0")), help="index of this node, from 0")
    parser.add_argument("--address", default=setting("ADDRESS", "tcp://127.0.0.1:5571"), help="of the coordinator")
    parser.add_argument("--interval", type=float, default=float(setting("INTERVAL", "1")), help="seconds between looks")
    parser.add_argument("--state", type=Path, default=Path(setting("STATE", "state")), help="folder of its state")
    parser.add_argument("--load", type=float, help="a load from 0 to 1 to report in place of this machine's")
    options = parser.parse_args()
    if not options.interval > 0:
        parser.error(f"--interval must be more than 0 seconds, got {options.interval:g}")

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        options.state.mkdir(parents=True, exist_ok=True)
        endpoint = NodeEndpoint(
            options.node, function(), options.address, file=options.state / f"node-{options.node}.state"
        )
        psutil.cpu_percent()  # it measures since the call before
        refusal, due = None, time.monotonic()
        with endpoint:
            print(f"node {options.node} reports to {options.address}", flush=True)
            while not stop.is_set():
                load = psutil.cpu_percent() / 100 if options.load is None else options.load
                endpoint.update(vector(load))
                due = max(due + options.interval, time.monotonic())
                while not stop.is_set() and (left := due - time.monotonic()) > 0:
                    endpoint.step(min(left, 0.2))
                if endpoint.refusal is not refusal:
                    refusal = endpoint.refusal
                    print("taking part" if refusal is None else f"refused: {refusal.name.lower()}", flush=True)
    except (AutomonError, OSError, ValueError, zmq.ZMQError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("ended; said goodbye", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
