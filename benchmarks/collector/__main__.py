"""Load on the collector: samples a second, a thousand clients, beside InfluxDB and Pushgateway; fleet, soak, kills."""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from . import kills, servers
from .history import write_day
from .load import Body, Tally, heflwr_body, influx_body, pushgateway_body, send

Start = Callable[[Path], AbstractContextManager[servers.Running]]

CANDIDATES: dict[str, tuple[Start, Body, str]] = {
    "heflwr collector": (servers.heflwr, heflwr_body, "python3"),
    "InfluxDB 1.6": (servers.influxdb, influx_body, "influxd"),
    "Pushgateway": (servers.pushgateway, pushgateway_body, "prometheus-pushgateway"),
}


def main() -> int:
    """Run what is asked for and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collector", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each load")
    parser.add_argument("--soak", type=int, default=3_000_000, help="samples of the soak, 0 for none")
    parser.add_argument("--kills", type=int, default=50, help="cycles of kill -9, 0 for none")
    parser.add_argument("--clients", type=int, default=1_000, help="of the fleet view")
    parser.add_argument("--only", choices=("load", "fleet", "soak", "kills"), help="one part alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="heflwr-bench-") as directory:
        home = Path(directory)
        parts = [options.only] if options.only else ["load", "fleet", "soak", "kills"]
        if "load" in parts:
            _loads(home, options.seconds)
        if "fleet" in parts:
            _fleet(home, options.clients)
        if "soak" in parts and options.soak:
            _soak(home, options.soak)
        if "kills" in parts and options.kills:
            print(kills.run(home, options.kills))
    return 0


def _sent(port: int, clients: int, rows: int, period: float, seconds: float, body: Body, first: int = 0) -> Tally:
    """Send from a process of its own, so that its work is not in anybody's numbers."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        load = {"clients": clients, "rows": rows, "period": period, "seconds": seconds, "body": body, "first": first}
        return pool.apply(send, (port,), load)


def _loads(home: Path, seconds: float) -> None:
    print("| server | load | samples/s | ack p50, ms | ack p99, ms | share of a core | failed |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (start, body, program) in CANDIDATES.items():
        if not servers.has(program) and program != "python3":
            print(f"| {name} | not installed | | | | | |")
            continue
        single = body is pushgateway_body
        loads = [
            ("16 connections, as fast as answered", 16, 1 if single else 50, 0.0),
            ("1,000 clients at 1 Hz, a request each 3 s or as asked", 1000, 1 if single else 3, 1.0 if single else 3.0),
            ("1,000 clients at 1 Hz, batches of 50", 1000, 1 if single else 50, 1.0 if single else 50.0),
        ]
        for load, clients, rows, period in loads[: 2 if single else 3]:
            where = home / f"{name} {load}".replace(" ", "-").replace(",", "")
            where.mkdir()
            with start(where) as running:
                before = running.cpu_seconds()
                tally = _sent(running.port, clients, rows, period, max(seconds, min(period, 60.0)), body)
                cpu = (running.cpu_seconds() - before) / tally.seconds
            print(
                f"| {name} | {load}{' (a row a request)' if single else ''} | {tally.samples / tally.seconds:,.0f} "
                f"| {1e3 * tally.quantile(0.5):.1f} | {1e3 * tally.quantile(0.99):.1f} | {100 * cpu:.1f} % "
                f"| {tally.failed} |",
                flush=True,
            )


def _fleet(home: Path, clients: int) -> None:
    database = home / "day.db"
    write_day(database, clients, 24)
    with servers.heflwr(home, database) as running:
        for what, hours in (("fleet?points=60", 1), ("fleet?points=60", 24), ("aggregate?metric=cpu_usage", 24)):
            now = time.time()
            path = f"/api/v1/{what}&since={now - 3600 * hours}&until={now}"
            waits = []
            for _ in range(7):
                began = time.monotonic()
                with urllib.request.urlopen(f"http://127.0.0.1:{running.port}{path}") as answer:
                    size = len(answer.read())
                waits.append(1e3 * (time.monotonic() - began))
            print(
                f"{what.partition('?')[0]}, {clients} clients, {hours} h: first {waits[0]:.0f} ms, "
                f"then {statistics.median(waits[1:]):.0f} ms (median of 6), {size:,} bytes"
            )
        print(f"memory after it: {running.resident_mib():.0f} MiB; database {database.stat().st_size / 2**20:.0f} MiB")


def _soak(home: Path, samples: int) -> None:
    where = home / "soak"
    where.mkdir()
    sent = 0
    with servers.heflwr(where) as running:
        while sent < samples:
            sent += _sent(running.port, 16, 50, 0.0, 15.0, heflwr_body, first=sent).samples
            size = sum(file.stat().st_size for file in where.iterdir()) / 2**20
            print(
                f"soak: {sent:,} samples, {running.resident_mib():.1f} MiB resident, {size:.0f} MiB on disk", flush=True
            )


if __name__ == "__main__":
    raise SystemExit(main())
