"""A collector that is killed again and again under load, and what is left in the end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from pathlib import Path

from heflwr.collector import Store
from heflwr.collector.store import reading

from . import servers

SENDERS = 4
BATCH = 50


def run(home: Path, cycles: int) -> str:
    """Return the result in a sentence: cycles, samples sent, acknowledged, found, doubled."""
    database = home / "killed.db"
    acknowledged: set[tuple[str, str, int]] = set()
    sent = [0]

    def hammer(port: int, cycle: int, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            for first in range(0, 1 << 30, BATCH):
                rows = [[first + row, 1.7e9 + first + row, row] for row in range(BATCH)]
                body = {"identifier": name, "run": f"r{cycle}", "metrics": ["threads"], "rows": rows}
                sent[0] += BATCH
                connection.request("POST", "/log", json.dumps(body), {"Content-Type": "application/json"})
                if json.load(connection.getresponse()).get("accepted") == BATCH:
                    acknowledged.update((name, f"r{cycle}", first + row) for row in range(BATCH))

    for cycle in range(cycles):
        with servers.heflwr(home, database) as running:
            threads = [
                threading.Thread(target=hammer, args=(running.port, cycle, f"sender-{number}"))
                for number in range(SENDERS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(0.5 + 0.1 * (cycle % 7))
            os.kill(running.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    found: list[tuple[str, str, int]] = []
    with Store(database) as store, store.reading() as reader:
        for stored in reading.runs(reader):
            for _, chunk in reading.chunks_of(reader, stored.id, 0.0, 1e11):
                found += [(stored.identifier, stored.run, sequence) for sequence in chunk.sequences]
    lost = acknowledged - set(found)
    return (
        f"kill -9: {cycles} cycles, {sent[0]:,} samples sent, {len(acknowledged):,} acknowledged, {len(found):,} found,"
        f" {len(lost)} acknowledged and lost, {len(found) - len(set(found))} doubled"
    )
