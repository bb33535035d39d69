"""A day of a thousand clients, as a collector would have kept it: one-minute sums and what is made of them."""

from __future__ import annotations

import random
import time
from pathlib import Path

from heflwr.collector.records import Row, SampleBatch
from heflwr.collector.store import Store, rolling
from heflwr.collector.store.rollups import Rollup

from .load import METRICS

SAMPLES_PER_MINUTE = 60


def write_day(path: Path, clients: int, hours: float) -> None:
    """Fill a database with so many clients' last hours at 1 Hz; raw samples are there for the last minute only."""
    draw = random.Random(1)
    now = time.time()
    end = int(now // 60)
    width = len(METRICS)
    with Store(path) as store:
        for client in range(clients):
            rows = tuple(
                Row(row, now - 60 + row, tuple(100 * draw.random() for _ in METRICS))
                for row in range(SAMPLES_PER_MINUTE)
            )
            store.add_samples(SampleBatch(f"client-{client:04}", "day", METRICS, rows, {"interval": 1.0}))
        store.roll()
        with store.reading() as reader:
            mark = rolling.mark(reader, "rolled")
            found = reader.execute("SELECT id, (SELECT min(id) FROM columns) FROM runs").fetchall()
        for run_id, columns_id in found:
            buckets = {
                minute: Rollup(
                    [60.0] * width, [1.0] * width, [3000 * draw.random()] * width, [99.0] * width, [50.0] * width,
                    60.0 * minute + 59,
                )
                for minute in range(end - round(60 * hours), end - 2)
            }  # fmt: skip
            store.writer.write(
                lambda writer, run_id=run_id, columns_id=columns_id, buckets=buckets: rolling.write(
                    writer, {(run_id, columns_id): buckets}, mark, mark
                )
            )
