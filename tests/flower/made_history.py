"""Histories as a run of so many nodes would leave them: unequal nodes, several at a time, an accuracy that rises."""

from __future__ import annotations

import random

from heflwr.flower.entry import ERROR, LOST, Entry
from heflwr.flower.history.ledger import History

BEGAN = 1_800_000_000.0

FULL = Entry(
    node=2**64 - 7,
    name="partition 3",
    round=4,
    kind="train.warm_up",
    sent=BEGAN + 0.1234567890123,
    received=BEGAN + 9.1,
    status=ERROR,
    error='a reason, with "quotes",\r\nlines and $signs ü',
    bytes_sent=12345,
    bytes_received=678,
    started=BEGAN + 0.3,
    cost={"seconds": 1 / 3, "cpu_seconds": 0.1, "memory_peak_bytes": 123456789, "energy_joules": 1e-300},
    metrics={"num-examples": 17.0, "loss": 2 / 3, "a, b": -1.5},
    host="node-a",
    in_simulation=True,
    sources={"energy": "rapl", "network": "tcp"},
    notes=("no energy: permission", "two\nlines"),
)
"""An entry with every field set to something else than its default."""


def made_history(
    nodes: int = 10, rounds: int = 5, *, energy: bool = True, accuracy: bool = True, seed: int = 1, workers: int = 4
) -> History:
    """Return a run: each round every node trains, then evaluates; so many calls at a time; the odd error and loss."""
    draw = random.Random(seed)
    speed = [draw.lognormvariate(0, 0.35) for _ in range(nodes)]
    history = History()
    now = BEGAN
    for number in range(1, rounds + 1):
        for kind, work in (("train", 1.0), ("evaluate", 0.2)):
            free = [now] * workers
            calls = []
            for node in range(nodes):
                at = min(range(workers), key=free.__getitem__)
                seconds = work * speed[node] * draw.uniform(0.9, 1.2)
                calls.append((node, free[at] + 0.02, seconds))
                free[at] += seconds + 0.05
            end = max(free) + 0.1
            for node, started, seconds in calls:
                fate = draw.random()
                status = ERROR if fate < 0.01 else LOST if fate < 0.015 else "ok"
                cost = {
                    "seconds": seconds,
                    "cpu_seconds": 0.9 * seconds,
                    "memory_bytes": 2e8 + 3e6 * node,
                    "memory_peak_bytes": 2.5e8 + 1e7 * speed[node] * draw.random(),
                    "network_bytes_sent": 1000.0 + node,
                    "network_bytes_recv": 2000.0,
                }
                if energy:
                    cost["energy_joules"] = 11 * seconds
                metrics = {"num-examples": 100.0 + node}
                if accuracy and kind == "evaluate":
                    metrics["accuracy"] = 1 - 0.85 / number + draw.uniform(-0.02, 0.02)
                is_ok = status == "ok"
                history.add(
                    Entry(
                        node=10**18 + 7919 * node,
                        name=str(node),
                        round=number,
                        kind=kind,
                        sent=now,
                        received=None if status == LOST else end,
                        status=status,
                        error="" if status != ERROR else "the app raised ValueError",
                        bytes_sent=50_000,
                        bytes_received=50_100 if is_ok else 0,
                        started=started if is_ok else None,
                        cost=cost if is_ok else {},
                        metrics=metrics if is_ok else {},
                        host="box" if is_ok else "",
                        in_simulation=is_ok,
                        sources={"energy": "rapl"} if energy and is_ok else {},
                    )
                )
            now = end + 0.3
    return history
