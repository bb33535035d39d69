"""The process tree where the system gives less: no list of children, no CPU clocks, no file descriptor left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workloads import MIB, Worker

from heflwr.monitor import Monitor
from heflwr.monitor.probes.machine import Machine

TICK = 1.0 / os.sysconf("SC_CLK_TCK")


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def bare_proc(root: Path, *pids: int) -> Machine:
    """Make a procfs of links into the real one, for some processes, without task/ and without loadavg."""
    for pid in pids:
        (root / str(pid)).mkdir()
        for name in ("stat", "statm", "cmdline", "smaps_rollup", "cgroup", "net"):
            (root / str(pid) / name).symlink_to(f"/proc/{pid}/{name}")
    (root / "meminfo").symlink_to("/proc/meminfo")
    return Machine(str(root), None)


def test_children_are_found_without_the_kernels_list_of_them(runner: str, tmp_path: Path) -> None:
    """As on Jetsons: every process is asked for its parent; CPU time comes in ticks."""
    with Worker() as child, Worker() as other:
        machine = bare_proc(tmp_path, os.getpid(), child.pid)
        with Monitor(runner=runner, interval=0.1, machine=machine) as monitor:
            before = child.call("cpu_used") + time.process_time()
            child.send("burn", 0.8)
            other.send("burn", 0.8)  # is not in that procfs
            child.reply()
            other.reply()
            held = child.call("hold", 64)  # CPU time too: 64 MiB of page faults took 0.025 to 0.2 s
            truth = child.call("cpu_used") + time.process_time() - before
    assert truth > 0.1
    assert monitor.describe()["cpu_seconds"].total == pytest.approx(truth, abs=6 * TICK)
    assert (monitor.samples()[-1]["memory_bytes"] or 0) > held > 64 * MIB
    assert not monitor.health.errors


EXHAUSTED = """
import json, os, resource, signal, sys, time
from heflwr.monitor import Monitor
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
monitor = Monitor(runner="thread", interval=0.02, network={network!r}, loopback=True)
monitor.start()
expected = {{"tree"}} | ({{"network"}} if {network!r} == "process" else set())
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not in time: {{monitor.health}}")
        time.sleep(0.01)


if (pid := os.fork()) == 0:
    while True:
        pass
clock = time.clock_gettime, (~pid << 3) | 2  # the child's CPU clock, as clock_getcpuclockid(3) makes it
wait_for(lambda: clock[0](clock[1]) > 0.6 and expected <= monitor.health.errors.keys())
errors = dict(monitor.health.errors)
before = clock[0](clock[1])
during = monitor.describe()["cpu_seconds"].total
for descriptor in taken:
    os.close(descriptor)
wait_for(lambda: monitor.describe()["cpu_seconds"].total > before)
seen = monitor.describe()["cpu_seconds"].total
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
usage = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
monitor.stop()
print(json.dumps(dict(
    errors=errors, before=before, during=during, seen=seen, total=monitor.describe()["cpu_seconds"].total,
    failure=monitor.failure,
    child=usage[0].ru_utime + usage[0].ru_stime, own=usage[1].ru_utime + usage[1].ru_stime,
)))
"""


@pytest.mark.parametrize("network", ["host", "process"])
def test_a_child_that_no_descriptor_was_left_for_is_counted_later(network: str) -> None:
    """The failure is counted in health, the run goes on, and the child is found once there is a descriptor again."""
    result = subprocess.run(
        [sys.executable, "-c", EXHAUSTED.format(network=network)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["errors"]["tree"] >= 1
    assert (told["errors"].get("network", 0) > 0) == (network == "process")
    assert told["failure"] == ""
    assert told["during"] < 0.5 * told["before"]
    assert told["seen"] > told["before"]
    assert told["child"] <= told["total"] <= told["child"] + told["own"]
