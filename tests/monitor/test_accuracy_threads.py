"""Threads, open files and context switches against truth by construction."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from waiting import wait_for
from workloads import Worker

from heflwr.monitor import Monitor


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


def test_threads_and_files_of_the_tree(runner: str, worker: Worker) -> None:
    """The watched process's and its child's, as psutil counts them."""
    monitor = Monitor(runner=runner, interval=0.1, pid=worker.pid)
    monitor.set_metrics(threads=True)
    worker.call("receive_all")
    worker.call("fork_idle", 1)
    with monitor:
        wait_for(lambda: monitor.health.samples > 2)
    tree = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
    sample = monitor.samples()[-1]
    assert sample["threads"] == sum(process.num_threads() for process in tree) == 3
    assert sample["open_files"] == sum(process.num_fds() for process in tree)


def test_the_switches_of_a_thread_count_while_it_lives(runner: str, worker: Worker) -> None:
    """An ended thread takes nothing away from what the others do."""
    monitor = Monitor(runner=runner, interval=0.02, pid=worker.pid)
    monitor.set_metrics(threads=True)
    worker.call("switch", 500)
    with monitor:
        worker.call("switch", 2000)
        worker.call("switch", 2000)
    assert 3000 < monitor.summary()["total_context_switches"] < 12000
