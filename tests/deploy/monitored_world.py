"""Everything that the dashboards show, for real: two clients, a Flower run, a live channel and a collector.

What this machine lacks, a board's sensors and a GPU, is a recorded sysfs and a stand-in for NVIDIA's library under the
real probes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "flower"), str(TESTS / "live")]

from live_fleet import LiveFleet  # noqa: E402 - found on the path above
from programs import need  # noqa: E402
from prometheus_server import PrometheusServer, prometheus_server  # noqa: E402
from servers import CollectorProcess, free_port, post  # noqa: E402
from waiting import wait_for  # noqa: E402

WATCHES = """
[[watch]]
kind = "mean"
metric = "load"
bound = 2.0

[[watch]]
kind = "imbalance"
metric = "load"
bound = 5.0
"""

SCRAPES = 8
"""Of each target, before it is asked: rates need two in their window."""

LOOK_SECONDS = 0.25
"""Between two looks at how far it is: who asks all the time keeps Prometheus from scraping."""

EVERYWHERE = dict.fromkeys(("cpu", "memory", "network", "disk", "threads"), True)
EVERYTHING = {**EVERYWHERE, "power": True, "gpu": True, "energy": True}

_TREE = """
import sys, threading, json
from pathlib import Path
sys.path[:0] = {paths!r}
from fake_nvml import fake_nvml
from machine_tree import Tree

tree = Tree(Path({folder!r}))
tree.hwmon("1-0040", {{"VDD_IN": (5000, 1000), "VDD_CPU_GPU_CV": (5000, 400), "VDD_SOC": (5000, 200)}})
tree.rapl("0", "package-0", 0)
nvml = sys.modules["pynvml"] = fake_nvml(gpus=2)
nvml.usage, nvml.memory, nvml.power = [40, 60], [2**30, 2**31], [30_000, 50_000]
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
"""
"""A board with sensors, a CPU and two GPUs; `over` is set when stdin ends."""

_CLIENTS = (
    _TREE
    + """
from heflwr.monitor import process_monitor, thread_monitor

plain = process_monitor.PrometheusMonitor(0, 0.25, host="127.0.0.1", identifier="plain")
plain.set_metrics(**{everywhere!r})
board = thread_monitor.PrometheusMonitor(0, 0.25, host="127.0.0.1", identifier="board", machine=tree.machine)
board.set_metrics(**{everything!r})
remote = thread_monitor.RemoteMonitor({collector!r}, 0.25, identifier="remote")
monitors = [plain, board, remote]
for monitor in monitors:
    monitor.start()
print(json.dumps([plain.port, board.port]), flush=True)
joules = 0
while not over.wait(0.1):
    joules += 1
    tree.rapl("0", "package-0", joules * 1_000_000)
    nvml.energy = [joules * 3000, joules * 5000]
    sum(range(200_000))
for monitor in monitors:
    monitor.stop()
"""
)

_FEDERATION = (
    _TREE
    + """
import os
from clouds_app import client, new_model
from flwr.app import ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from local_grid import run_app

from heflwr.automon import fleet
from heflwr.flower import Gauges, monitored
from heflwr.monitor.probes.machine import Machine

Machine.here = classmethod(lambda cls: tree.machine)
gauges = Gauges(0, host="127.0.0.1")
server = ServerApp()

@server.main()
def main(grid: Grid, context: Context) -> None:
    print(json.dumps(gauges.port), flush=True)

    def evaluate(number, arrays):
        if over.wait(0.2):
            os._exit(0)
        return MetricRecord({{"score": float(number)}})

    FedAvg(min_train_nodes=3, min_evaluate_nodes=3, min_available_nodes=3).start(
        grid, initial_arrays=new_model(), num_rounds=10**6, evaluate_fn=evaluate
    )

watch = [fleet.mean("cpu_usage", bound=200.0), fleet.total("cpu_seconds", bound=100.0)]
metrics = ("cpu", "memory", "network", "disk", "energy", "power", "gpu")
run_app(monitored(server, sinks=[gauges], watch=watch), monitored(client(), metrics=metrics, watch=watch))
"""
)


@contextmanager
def _script(text: str, folder: Path, **values: object) -> Iterator[Callable[[], Any]]:
    """Run a script until the block ends; yields a function that waits for the JSON which it prints first."""
    folder.mkdir()
    paths = [str(TESTS), str(TESTS / "flower")]
    code = text.format(paths=paths, folder=str(folder), **values)
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )

    def told() -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        return json.loads(line)

    with process:
        try:
            yield told
        finally:
            try:
                process.communicate(timeout=30)  # its stdin ends
            finally:
                process.kill()


@contextmanager
def _live(folder: Path) -> Iterator[str]:
    """Run a coordinator and two agents; yields the address of its metrics."""
    folder.mkdir()
    live = LiveFleet(folder, WATCHES)
    try:
        coordinator = live.coordinator("--agents", "2", "--prometheus", "0")
        for name in ("ann", "ben"):
            live.agent(name)
        line = coordinator.says("metrics at")
        coordinator.says(r"variance of load \S+ \+- [0-9]")
        yield urllib.parse.urlsplit(re.split(r"\s", line)[-1]).netloc
    finally:
        live.end()


@contextmanager
def monitored_world(folder: Path) -> Iterator[PrometheusServer]:
    """Run everything, and a Prometheus that has scraped all of it; one client cannot be reached."""
    need("prometheus")
    with ExitStack() as stack:
        collector = stack.enter_context(CollectorProcess(folder / "collector.db"))
        assert 400 == post(f"{collector.url}/api/v1/targets", b"{}")[0]
        values = {"collector": collector.address, "everywhere": EVERYWHERE, "everything": EVERYTHING}
        federation = stack.enter_context(_script(_FEDERATION, folder / "federation"))
        clients = stack.enter_context(_script(_CLIENTS, folder / "clients", **values))
        coordinator = stack.enter_context(_live(folder / "live"))
        targets = {
            "heflwr": [f"127.0.0.1:{port}" for port in (*clients(), free_port())],
            "heflwr-flower": [f"127.0.0.1:{federation()}"],
            "heflwr-coordinator": [coordinator],
            "heflwr-collector": [collector.address],
        }
        jobs = [{"job_name": name, "static_configs": [{"targets": listed}]} for name, listed in targets.items()]
        prometheus = stack.enter_context(prometheus_server(folder / "prometheus", jobs))
        count = sum(map(len, targets.values()))

        def is_scraped() -> bool:
            time.sleep(LOOK_SECONDS)
            scrapes = [times for _, times in prometheus.query("count_over_time(up[5m])")]
            return len(scrapes) == count and min(scrapes) >= SCRAPES

        wait_for(is_scraped, 60, "eight scrapes of each target")
        yield prometheus
