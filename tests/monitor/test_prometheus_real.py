"""Prometheus itself scrapes both variants of the monitor and answers questions about them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_server import PrometheusServer, prometheus_server, self_signed
from waiting import wait_for

from heflwr.monitor import process_monitor, thread_monitor
from heflwr.monitor.metrics import GROUPS, Kind, in_groups

EVERYWHERE = {"cpu", "memory", "network", "disk", "threads"}
"""The groups that every Linux machine has."""

DOCS = (Path(__file__).parents[2] / "docs" / "prometheus.md").read_text()

IDENTIFIER = 'client "7"\n\\ é 日本'

ALWAYS = {
    "heflwr_build_info",
    "heflwr_samples_total",
    "heflwr_sample_interval_seconds",
    "heflwr_last_sample_timestamp_seconds",
}

LIMITS = {"heflwr_cpu_limit_cores", "heflwr_memory_limit_bytes"}
"""What only a container has."""

BALLAST_BYTES = 200 << 20

TRAINING = f"""
import json, sys, threading, time
from heflwr.monitor import process_monitor, thread_monitor

over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
monitors = [
    module.PrometheusMonitor(0, 0.2, host="127.0.0.1", identifier={IDENTIFIER!r}, labels={{"site": "lab"}})
    for module in (process_monitor, thread_monitor)
]
for monitor in monitors:
    monitor.set_metrics({", ".join(f"{group}=True" for group in sorted(EVERYWHERE))})
    monitor.start()
print(json.dumps([monitor.port for monitor in monitors]), flush=True)
ballast = bytearray(b"x") * {BALLAST_BYTES}
while not over.is_set():
    until = time.process_time() + 0.05
    while time.process_time() < until:
        sum(range(1000))
    time.sleep(0.05)
    print(json.dumps([time.time(), time.process_time()]), flush=True)
for monitor in monitors:
    monitor.stop()
"""
"""Half of one core and some memory, watched by both variants at once; it tells its own CPU time."""


@contextmanager
def training() -> Iterator[tuple[dict[str, int], subprocess.Popen[str]]]:
    """Run TRAINING; yields the port of each variant and the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield dict(zip(("process", "thread"), json.loads(process.stdout.readline()), strict=True)), process
        finally:
            if not process.stdin.closed:
                process.stdin.close()


def job(name: str, port: int | None, **options: Any) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}], **options}


def scraped(server: PrometheusServer, jobs: set[str], times: int) -> bool:
    counts = {labels["job"]: count for labels, count in server.query("count_over_time(up[1m])")}
    return set(counts) == jobs and min(counts.values()) >= times


def test_prometheus_answers_a_query_for_each_metric_of_both_variants(tmp_path: Path) -> None:
    """A real server scrapes a live training run: it knows every metric that is on, and its rate() is the real burn."""
    metrics = in_groups({group: group in EVERYWHERE for group in GROUPS})
    expected = ALWAYS | {
        metric.prometheus.name + ("_total" if metric.kind is Kind.DELTA else "")
        for metric in metrics
        if metric.prometheus is not None
    }
    jobs = {"process", "thread"}
    with training() as (ports, process):
        with prometheus_server(tmp_path, [job(name, port) for name, port in ports.items()]) as server:
            wait_for(lambda: scraped(server, jobs, 12), what="a dozen scrapes of each")
            answers = {name: server.query(name) for name in expected}
            for name, answer in answers.items():
                assert {labels["job"] for labels, _ in answer} == jobs, f"{name}: {answer}"
                assert {labels["identifier"] for labels, _ in answer} == {IDENTIFIER}
                assert {labels["site"] for labels, _ in answer} == {"lab"}
            known = {labels["__name__"] for labels, _ in server.query('{__name__=~"heflwr_.*"}')}
            assert known - LIMITS == expected
            units = {entry["unit"] for entry in server.metadata("heflwr_cpu_seconds")}
            assert units == {"seconds"}  # told by OpenMetrics only
            for expression in re.findall(r"```promql\n(.*?)\n```", DOCS, re.S):
                is_everywhere = not re.search("energy|timestamp", expression)  # power is off, and nobody is late
                assert bool(server.query(expression)) is is_everywhere, expression
            now = time.time()
            rates = {name: server.value(f'rate(heflwr_cpu_seconds_total{{job="{name}"}}[4s])') for name in jobs}
            shares = {name: server.value(f'avg_over_time(heflwr_cpu_usage_ratio{{job="{name}"}}[4s])') for name in jobs}
            resident = {labels["job"]: value for labels, value in answers["heflwr_memory_resident_bytes"]}
            assert [target["lastError"] for target in server.targets().values()] == ["", ""]
        output, _ = process.communicate(timeout=20)
    log = [json.loads(line) for line in output.splitlines()]
    (since, before), *_, (until, after) = [entry for entry in log if now - 4.5 <= entry[0] <= now]
    burnt = (after - before) / (until - since)
    assert process.returncode == 0
    assert rates == {name: pytest.approx(burnt, rel=0.4) for name in jobs}
    assert all(0 < share <= 1 for share in shares.values())
    assert all(BALLAST_BYTES < held < 2 * BALLAST_BYTES for held in resident.values())


def test_prometheus_scrapes_over_tls_with_basic_authentication(tmp_path: Path) -> None:
    """With certificate, name and password the server scrapes both variants; with a wrong password it is turned away."""
    certfile, keyfile = self_signed(tmp_path)
    tls = {"scheme": "https", "tls_config": {"ca_file": str(certfile)}}
    right = {"username": "prometheus", "password": "pass: wört"}
    with ExitStack() as stack:
        ports = {}
        for name, module in (("process", process_monitor), ("thread", thread_monitor)):
            monitor = module.PrometheusMonitor(0, 0.2, host="127.0.0.1", certfile=certfile, keyfile=keyfile, **right)
            stack.enter_context(monitor)
            ports[name] = monitor.port
        jobs = [job(name, port, basic_auth=right, **tls) for name, port in ports.items()]
        jobs.append(job("impostor", ports["process"], basic_auth={**right, "password": "guess"}, **tls))
        with prometheus_server(tmp_path, jobs) as server:
            wait_for(lambda: scraped(server, {"process", "thread", "impostor"}, 2), what="two scrapes of each")
            up = {labels["job"]: value for labels, value in server.query("up")}
            names = {labels["job"] for labels, _ in server.query("heflwr_cpu_seconds_total")}
            refusal = server.targets()["impostor"]["lastError"]
    assert up == {"process": 1, "thread": 1, "impostor": 0}
    assert names == {"process", "thread"}
    assert "401" in refusal
