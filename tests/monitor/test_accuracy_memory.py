"""Memory against truth by construction: blocks of known size, held by real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from waiting import wait_for
from workloads import MIB, Worker

from heflwr.monitor import Monitor

STEP = 64


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


def _now(monitor: Monitor) -> int:
    """Return memory_bytes of a sample taken now."""
    with monitor.window("now") as window:
        pass
    return int(window.describe()["memory_bytes"].maximum)


def _settled(monitor: Monitor, expected: float, tolerance: float) -> int:
    """Return memory_bytes once it is as expected, or as it is after some looks at the tree."""
    try:
        return wait_for(lambda: abs((value := _now(monitor)) - expected) < tolerance and value, 3.0)
    except AssertionError:
        return _now(monitor)


def test_a_staircase_in_the_process_itself(runner: str, worker: Worker) -> None:
    """Steps of 64 MiB are seen at once, each within 2 %."""
    with Monitor(runner=runner, interval=5, pid=worker.pid) as monitor:
        floor = _now(monitor)
        for step in range(1, 6):
            resident = worker.call("hold", STEP)
            now = _now(monitor)
            assert now - floor == pytest.approx(step * STEP * MIB, rel=0.02)
            assert now == pytest.approx(resident, rel=0.02)


def test_a_staircase_in_a_child(runner: str) -> None:
    """Children are measured twice a second; each step is seen by then."""
    with Worker() as worker, Monitor(runner=runner, interval=0.1) as monitor:
        floor = _now(monitor)
        for step in range(1, 4):
            worker.call("hold", STEP)
            expected = floor + step * STEP * MIB
            now = _settled(monitor, expected, 0.01 * step * STEP * MIB)
            assert now - floor == pytest.approx(step * STEP * MIB, rel=0.02)


def test_memory_shared_by_a_fork_counts_once(runner: str, worker: Worker) -> None:
    """256 MiB in a process and its forked children are 256 MiB, from the first look at the children on."""
    worker.call("hold", 256)
    with Monitor(runner=runner, interval=0.1, pid=worker.pid) as monitor:
        before = _now(monitor)
        for samples in (5, 10, 15, 20):  # one after the other: between two readings of what is shared, too
            worker.call("fork_idle", 1)
            wait_for(lambda samples=samples: monitor.health.samples > samples)
        values = [sample["memory_bytes"] for sample in monitor.samples()]
    assert before > 256 * MIB
    assert max(value for value in values if value is not None) < before + 32 * MIB
    assert min(value for value in values if value is not None) > 0.9 * before


def test_memory_that_a_fork_no_longer_shares_counts_twice(runner: str, worker: Worker) -> None:
    """A child that writes to what it shared has pages of its own: seen within seconds."""
    worker.call("hold", 128)
    with Monitor(runner=runner, interval=0.1, pid=worker.pid) as monitor:
        before = _now(monitor)
        worker.call("fork_idle", 1, {"rewrite_after": 1.0})
        wait_for(lambda: _now(monitor) > before + 0.95 * 128 * MIB, what="the second copy")
        assert _now(monitor) < before + 128 * MIB + 32 * MIB


def test_memory_in_percent_is_of_the_machine(runner: str, worker: Worker) -> None:
    """memory_usage is memory_bytes over what /proc/meminfo says the machine has."""
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    with Monitor(runner=runner, interval=0.1, pid=worker.pid) as monitor:
        worker.call("hold", STEP)
    for sample in monitor.samples():
        assert sample["memory_usage"] == pytest.approx(100.0 * (sample["memory_bytes"] or 0) / total)
