"""Counters where processes cannot be looked at for a while (no descriptor, no right): nothing counts twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from machine_tree import unprivileged
from programs import need_root
from waiting import wait_for
from workloads import MIB, Worker, real_disk

from heflwr.monitor import Monitor

EXHAUSTED = """
import json, os, resource, sys, threading, time
import psutil
from heflwr.monitor import Monitor
from heflwr.monitor.probes.tree import AGENT_MARK

runner, group, folder = sys.argv[1:]


def write(name, mib):
    with open(f"{folder}/{name}", "wb") as file:
        file.write(os.urandom(mib << 20))
        file.flush()
        os.fsync(file.fileno())


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not in time: {monitor.health}")
        time.sleep(0.01)


def switch(times):
    for _ in range(times):
        time.sleep(0.00001)


write("before", 20)
switch(10000)
monitor = Monitor(runner=runner, interval=0.02)
monitor.set_metrics(cpu=False, memory=False, network=False, **{group: True})
with monitor:
    wait_for(lambda: monitor.health.samples > 2)
    sampler = os.getpid()
    if runner == "process":
        found = [child for child in psutil.Process().children() if AGENT_MARK.decode() in " ".join(child.cmdline())]
        sampler = found[0].pid
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    file = open(f"{folder}/during", "wb")
    resource.prlimit(sampler, resource.RLIMIT_NOFILE, (3, hard))
    wait_for(lambda: monitor.health.errors.get(group, 0) > 2)
    file.write(os.urandom(4 << 20))
    file.flush()
    os.fsync(file.fileno())
    resource.prlimit(sampler, resource.RLIMIT_NOFILE, (soft, hard))
    count = monitor.health.samples
    wait_for(lambda: monitor.health.samples > count + 5)
    file.close()
rows = monitor.samples()
print(json.dumps(dict(errors=monitor.health.errors, last_error=monitor.health.last_error, rows=rows)))
"""


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def measure(runner: str, group: str, folder: str) -> dict:
    """Return what a run told whose sampling process had no descriptor left for some ticks."""
    result = subprocess.run(
        [sys.executable, "-c", EXHAUSTED, runner, group, folder],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["errors"][group] > 2
    assert "Too many open files" in told["last_error"]
    return told


def test_disk_bytes_of_before_start_do_not_come_back(runner: str) -> None:
    """20 MiB from before, 4 MiB while nobody could look: only the 4 count, with the first good look."""
    with real_disk() as folder:
        told = measure(runner, "disk", folder)
    values = [row["disk_bytes_written"] for row in told["rows"]]
    assert None in values
    assert sum(value or 0 for value in values) == pytest.approx(4 * MIB, rel=0.1)


def test_context_switches_of_before_start_do_not_come_back(runner: str) -> None:
    """10000 from before do not count; ticks without a look have no value, rather than no open file."""
    with real_disk() as folder:
        told = measure(runner, "threads", folder)
    assert None in [row["open_files"] for row in told["rows"]]
    assert 0 not in [row["open_files"] for row in told["rows"]]
    assert sum(row["context_switches"] or 0 for row in told["rows"]) < 8000


def test_what_was_refused_for_a_while_counts_once() -> None:
    """Processes that may not be looked at keep what they had; what they did meanwhile comes with the next good look."""
    need_root("gives up the right to look at others and takes it back")
    with real_disk() as folder, Worker() as worker:
        worker.call("write_file", f"{folder}/before", 16 * MIB)
        worker.call("switch", 10000)
        monitor = Monitor(runner="thread", interval=0.02, pid=worker.pid)
        monitor.set_metrics(cpu=False, memory=False, network=False, disk=True, threads=True)
        with monitor:
            worker.call("write_file", f"{folder}/first", 8 * MIB)
            with unprivileged():
                worker.call("write_file", f"{folder}/second", 8 * MIB)
                wait_for(lambda: monitor.samples()[-1]["open_files"] == 0, what="a sample that was refused")
            count = monitor.health.samples
            wait_for(lambda: monitor.health.samples > count + 2)
    assert monitor.summary()["total_disk_bytes_written"] == pytest.approx(16 * MIB, rel=0.05)
    assert monitor.summary()["total_context_switches"] < 8000


def test_what_was_refused_at_start_counts_from_when_it_can_be_seen() -> None:
    """Nothing that a process did before start() is billed because it could not be looked at then."""
    need_root("gives up the right to look at others and takes it back")
    with real_disk() as folder, Worker() as worker:
        child = worker.call("write_in_child", f"{folder}/before", 16 * MIB)
        monitor = Monitor(runner="thread", interval=0.02, pid=worker.pid)
        monitor.set_metrics(cpu=False, memory=False, network=False, threads=True)
        worker.call("switch", 10000)
        with unprivileged():
            monitor.start()
            wait_for(lambda: monitor.health.samples > 2)
        wait_for(lambda: monitor.samples()[-1]["threads"] == 2, what="a sample with both")
        monitor.stop()
        worker.call("finish_child", child)
    assert monitor.summary()["total_context_switches"] < 8000
