"""A fleet that never was: bodies as real clients send them, with curves that look like training."""

from __future__ import annotations

import json
import math
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

UNITS = {
    "cpu_usage": "percent",
    "memory_bytes": "bytes",
    "memory_usage": "percent",
    "network_bytes_sent": "bytes",
    "network_bytes_recv": "bytes",
    "power_vdd_in": "milliwatts",
}
MEMORY_BYTES = 8 * 2**30
ROWS_A_BODY = 2_000
ROUND_SECONDS = 600.0

HOSTILE = ["<script>alert(1)</script>", "abc‮txt.exe", "=cmd|' /C calc'!A0", "x" * 256, "../..//?a=1&b=%41#c"]
"""Names that a client could choose to harm whoever looks at them."""


def about(place: int, interval: float) -> dict[str, Any]:
    """Return what a client says of itself."""
    return {
        "host": f"orin-{place // 4:02}.lab.example",
        "interval": interval,
        "units": UNITS,
        "versions": {"heflwr": "0.3.0", "python": "3.11.2", "platform": "Linux-5.15-tegra-aarch64"},
        "limits": {"cpu_cores": 6},
    }


def values(place: int, time: float, has_power: bool, chance: random.Random) -> list[float | int | None]:
    """Return one sample of the client number `place`, in the order of UNITS: it trains in three rounds of four."""
    number, part = divmod(time / ROUND_SECONDS, 1.0)
    luck = random.Random(number * 1000 + place)
    is_chosen, level, share = luck.random() < 0.75, luck.uniform(35, 85), luck.uniform(0.45, 0.78)
    trains = is_chosen and 0.06 < part < share
    ripple = math.sin(time / 17 + place) + math.sin(time / 61 + 2 * place)
    cpu = (level + 4 * ripple if trains else 4) + chance.uniform(-2, 2)
    memory = 0.2 + 0.05 * (place % 7) + (0.1 * min(1.0, 6 * (part - 0.06)) if trains else 0.0) + 0.002 * ripple
    receives, sends = is_chosen and part < 0.06, is_chosen and share < part < share + 0.05
    return [
        max(0.0, round(cpu, 2)),
        int(memory * MEMORY_BYTES),
        round(100 * memory, 2),
        int(chance.uniform(0.6, 1.0) * (5_600_000 if sends else 9_000)),
        int(chance.uniform(0.6, 1.0) * (7_500_000 if receives else 12_000)),
        round(4_200 + 95 * cpu + chance.uniform(-80, 80), 1) if has_power else None,
    ]


def bodies(
    identifier: str, place: int, first: float, last: float, interval: float, *, run: str = "", has_power: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield what one client sends of the time from `first` to `last`, a round of training after the other."""
    chance = random.Random(f"{identifier} {run}")
    run = run or f"{chance.getrandbits(64):016x}"
    times = [first + k * interval for k in range(int((last - first) / interval) + 1)]
    common = {"identifier": identifier, "run": run, **about(place, interval), "started": first, "metrics": list(UNITS)}
    rounds = windows(first, last)
    for start in range(0, len(times), ROWS_A_BODY):
        part = list(enumerate(times[start : start + ROWS_A_BODY], start))
        rows = [[sequence, time, *values(place, time, has_power, chance)] for sequence, time in part]
        yield {**common, "rows": rows, **({"windows": rounds} if start == 0 else {})}


def windows(first: float, last: float) -> list[dict[str, Any]]:
    """Return the rounds of that time; the last is open."""
    found = []
    for number in range(int(first // ROUND_SECONDS) + 1, int(last // ROUND_SECONDS) + 1):
        start = number * ROUND_SECONDS
        end = start + 0.85 * ROUND_SECONDS
        found.append(
            {"name": f"round {len(found) + 1}", "start": start, "end": end if end < last else None, "labels": {}}
        )
    return found


def function(
    name: str, guarantee: str, reason: str, first: float, last: float, *, unit: str = "percent", points: int = 300
) -> dict[str, Any]:
    """Return what a coordinator sends of one function: a value within 2 of the truth, and a seventh of the messages."""
    chance = random.Random(name)
    middle, phase, scale = chance.uniform(15, 45), chance.uniform(0, 6), 1.0 if unit else 0.04
    found = []
    known, messages, nodes = middle, 0, 20
    for sequence in range(points):
        time = first + (last - first) * sequence / (points - 1)
        truth = middle + 6 * math.sin(sequence / 67 + phase) + 2 * math.sin(sequence / 13) + chance.uniform(-0.3, 0.3)
        if abs(truth - known) > 1.9:
            known = round(truth, 2)
            messages += 2 * nodes
        elif chance.random() < 0.1:
            messages += 3
        found.append(
            {
                "name": name,
                "unit": unit,
                "guarantee": guarantee,
                "reason": reason,
                "sequence": sequence,
                "time": time,
                "round": sequence,
                "value": scale * known,
                "bound": scale * 2.0,
                "truth": scale * truth,
                "live": nodes,
                "stale": 0,
                "lost": 0,
                "messages": messages,
                "centralization": nodes * (sequence + 1),
            }
        )
    return {"identifier": "server", "run": "coordinator-1", "functions": found}


def post(url: str, path: str, sent: Sequence[dict[str, Any]] | Iterator[dict[str, Any]], token: str = "") -> None:
    """Post bodies one after the other over one connection; all must be taken."""
    with requests.Session() as session:
        session.trust_env = False
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        for body in sent:
            data = json.dumps(body).encode()
            answer = session.post(f"{url}{path}", data=data, headers={"Content-Type": "application/json"}, timeout=30)
            assert answer.ok, (answer.status_code, answer.text[:400])


def heard(database: Path, time: float, identifier: str = "%") -> None:
    """Let a collector's database say that a client (or every) was last heard of at `time`, without waiting for it."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        named = "SELECT id FROM clients WHERE identifier LIKE ?"
        connection.execute(f"UPDATE runs SET received = ? WHERE client IN ({named})", (time, identifier))
