"""Sends digits that the model has not seen, at a rate; half-way the lamp dims. `python load.py http://127.0.0.1:8080`."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from model import digits

DIM = 0.35
"""What is left of the brightness. The service knows no answers, so it cannot see that it errs; it can see the drift."""

BAD_EACH = 20
"""Each so many requests one holds what no sensor would send."""

TIMEOUT_SECONDS = 10.0


class Tally:
    """What came back, by phase; any thread adds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"sent": 0, "right": 0, "wrong": 0, "refused": 0, "failed": 0}

    def add(self, outcome: str) -> None:
        with self._lock:
            self._counts["sent"] += 1
            self._counts[outcome] += 1

    def __str__(self) -> str:
        counts = self._counts
        answered = counts["right"] + counts["wrong"]
        accuracy = counts["right"] / answered if answered else float("nan")
        return f"{counts['sent']} sent, accuracy {accuracy:.3f}, {counts['refused']} refused, {counts['failed']} failed"

    @property
    def failed(self) -> int:
        return self._counts["failed"]


def send(url: str, rate: float, begin: float, drift_at: float, end: float, tallies: dict[bool, Tally]) -> None:
    """Send to one service on one connection, on a schedule; what falls behind is caught up with."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)
    data = digits()
    rng = np.random.default_rng(address.port)
    for number in count():
        due = begin + number / rate
        if due >= end:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        is_dim = due >= drift_at
        which = int(rng.integers(len(data.unseen_labels)))
        pixels = data.unseen_inputs[which] * (DIM if is_dim else 1.0)
        body = {"inputs": [pixels.round(2).tolist() if number % BAD_EACH else [99] * len(pixels)]}
        tallies[is_dim].add(_ask(connection, body, int(data.unseen_labels[which])))
    connection.close()


def _ask(connection: http.client.HTTPConnection, body: dict[str, Any], label: int) -> str:
    """Return what became of one request."""
    try:
        connection.request("POST", "/predict", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()  # the next request opens it again
        return "failed"
    if response.status == 200:
        return "right" if answer["predictions"] == [label] else "wrong"
    return "refused" if 400 <= response.status < 500 else "failed"


def main() -> int:
    """Load all services at once, tell when the drift begins and what came back; 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", nargs="+", metavar="URL", help="a service")
    parser.add_argument("--seconds", type=float, default=20.0, help="half of them bright (default: 20)")
    parser.add_argument(
        "--rate", type=float, default=60.0, help="requests a second, all services together (default: 60)"
    )
    options = parser.parse_args()
    if not (options.seconds > 0 and options.rate > 0):
        parser.error("--seconds and --rate must be above 0")
    begin = time.monotonic()
    drift_at, end = begin + options.seconds / 2, begin + options.seconds
    tallies = {False: Tally(), True: Tally()}
    rate = options.rate / len(options.urls)
    threads = [
        threading.Thread(target=send, args=(url, rate, begin, drift_at, end, tallies), name=f"load {url}")
        for url in options.urls
    ]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, drift_at - time.monotonic()))
    print(f"bright: {tallies[False]}", flush=True)
    for thread in threads:
        thread.join()
    print(f"dim: {tallies[True]}", flush=True)
    return 1 if any(tally.failed for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
