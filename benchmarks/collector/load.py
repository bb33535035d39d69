"""Clients that send over HTTP, many in one process: each keeps its connection and waits for every answer.

As heflwr's own, they gather samples for longer where a receipt's Retry-After asks them to.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

METRICS = (
    "cpu_seconds",
    "cpu_usage",
    "memory_bytes",
    "memory_usage",
    "network_bytes_sent",
    "network_bytes_recv",
)
"""What a monitor sends by default."""

Body = Callable[[int, int, int, float], tuple[str, bytes]]
"""Of (client, first sequence, rows, time of the first): path and body."""


@dataclass(slots=True)
class Tally:
    """What came of it; seconds."""

    samples: int = 0
    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        waits = sorted(self.waits)
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else float("nan")


def heflwr_body(client: int, sequence: int, rows: int, at: float) -> tuple[str, bytes]:
    draw = random.Random(client * 1_000_003 + sequence)
    values = [
        [
            sequence + row,
            at + row,
            round(draw.random(), 6),
            100 * draw.random(),
            draw.randrange(1 << 33),
            100 * draw.random(),
            draw.randrange(1 << 20),
            draw.randrange(1 << 20),
        ]
        for row in range(rows)
    ]
    body = {"identifier": f"client-{client:04}", "run": "bench", "metrics": METRICS, "rows": values}
    return "/simple_log", json.dumps(body).encode()


def influx_body(client: int, sequence: int, rows: int, at: float) -> tuple[str, bytes]:
    draw = random.Random(client * 1_000_003 + sequence)
    lines = []
    for row in range(rows):
        fields = ",".join(f"{metric}={100 * draw.random()}" for metric in METRICS)
        lines.append(f"heflwr,identifier=client-{client:04},run=bench {fields} {int((at + row) * 1e9)}")
    return "/write?db=heflwr", "\n".join(lines).encode()


def pushgateway_body(client: int, sequence: int, rows: int, at: float) -> tuple[str, bytes]:
    """A push replaces what was there: it has one row, so rows of a batch are lost but for the last."""
    draw = random.Random(client * 1_000_003 + sequence)
    text = "".join(f"# TYPE heflwr_{metric} gauge\nheflwr_{metric} {100 * draw.random()}\n" for metric in METRICS)
    return f"/metrics/job/heflwr/instance/client-{client:04}", text.encode()


async def _client(
    port: int,
    number: int,
    rows: int,
    period: float,
    began: float,
    until: float,
    body: Body,
    tally: Tally,
    sequence: int,
) -> None:
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    due = began + random.random() * period
    gathered = period
    try:
        while True:
            if max(due, time.monotonic()) >= until:
                return
            if period:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            count = round(rows * gathered / period) if period else rows
            path, content = body(number, sequence, count, time.time() - count)
            sequence += count
            head = (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\n\r\n"
            )
            asked = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert reader is not None
                writer.write(head.encode() + content)
                answer = await reader.readuntil(b"\r\n\r\n")
                lower = answer.lower()
                if b"content-length:" in lower:
                    await reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))
                if b"connection: close" in lower:
                    writer.close()
                    writer = None
                if b"retry-after:" in lower:
                    gathered = max(period, float(lower.split(b"retry-after:")[1].split(b"\r\n")[0]))
                due += gathered
                if answer.split(b" ", 2)[1] not in (b"200", b"204", b"202"):
                    tally.failed += 1
                    continue
            except (OSError, asyncio.IncompleteReadError):
                due += gathered
                tally.failed += 1
                writer = None
                continue
            tally.waits.append(time.monotonic() - asked)
            tally.requests += 1
            tally.samples += count
    finally:
        if writer is not None:
            writer.close()


async def _all(port: int, clients: int, rows: int, period: float, seconds: float, body: Body, first: int) -> Tally:
    tally = Tally()
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_client(port, number, rows, period, began, began + seconds, body, tally, first))
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
    tally.seconds = time.monotonic() - began
    return tally


def send(
    port: int, *, clients: int, rows: int, period: float, seconds: float, body: Body = heflwr_body, first: int = 0
) -> Tally:
    """Let so many clients send batches of so many rows, each every `period` seconds (0: as fast as it is answered).

    `first` is the sequence that all begin with: what was sent before is known to a collector that knows duplicates.
    """
    return asyncio.run(_all(port, clients, rows, period, seconds, body, first))
