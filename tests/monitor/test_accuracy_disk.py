"""Disk traffic against truth by construction: files of known size, written through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from waiting import wait_for
from workloads import MIB, Worker, real_disk

from heflwr.monitor import Monitor

SIZE = 64 * MIB


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder() -> Iterator[str]:
    """A directory on a real disk."""
    with real_disk() as made:
        yield made


def test_a_file_written_through_is_seen(runner: str, folder: str) -> None:
    """64 MiB with fsync are 64 MiB written, by the process that wrote them."""
    with Worker() as worker:
        monitor = Monitor(runner=runner, interval=0.1, pid=worker.pid)
        monitor.set_metrics(disk=True)
        worker.call("write_file", f"{folder}/before", 8 * MIB)
        with monitor:
            worker.call("write_file", f"{folder}/file", SIZE)
    assert monitor.summary()["total_disk_bytes_written"] == pytest.approx(SIZE, rel=0.02)


def test_a_file_written_by_a_child_counts_once(runner: str, folder: str) -> None:
    """While the child lives, and no second time when its parent waits for it."""
    monitor = Monitor(runner=runner, interval=0.05)
    monitor.set_metrics(disk=True)
    with monitor, Worker() as worker:
        worker.call("write_file", f"{folder}/file", SIZE)
    assert monitor.summary()["total_disk_bytes_written"] == pytest.approx(SIZE, rel=0.02)


def _written(monitor: Monitor) -> float:
    return monitor.describe()["disk_bytes_written"].total


@pytest.mark.parametrize("is_waited", [True, False], ids=["waited", "ignored"])
def test_a_child_that_ends_neither_counts_twice_nor_hides_what_others_write(
    runner: str, folder: str, is_waited: bool
) -> None:
    """Its bytes stand, whether its parent takes them over or nobody does; the parent's own come on top."""
    with Worker() as worker:
        monitor = Monitor(runner=runner, interval=60, pid=worker.pid)
        monitor.set_metrics(disk=True)
        with monitor:
            child = worker.call("write_in_child", f"{folder}/child", 32 * MIB, {"is_waited": is_waited})
            _sampled(monitor)
            assert _written(monitor) == pytest.approx(32 * MIB, rel=0.05)
            worker.call("finish_child", child)
            worker.call("write_file", f"{folder}/parent", 40 * MIB)
    assert _written(monitor) == pytest.approx(72 * MIB, rel=0.05)


def test_what_others_write_while_several_children_end_is_counted(runner: str, folder: str) -> None:
    """More than the parent itself writes goes away with two unwaited children, then a waited one hands over its own."""
    with Worker() as worker:
        monitor = Monitor(runner=runner, interval=60, pid=worker.pid)
        monitor.set_metrics(disk=True)
        with monitor:
            children = [
                worker.call("write_in_child", f"{folder}/{k}", 16 * MIB, {"is_waited": False}) for k in range(2)
            ]
            _sampled(monitor)
            for child in children:
                worker.call("finish_child", child)
            worker.call("write_file", f"{folder}/parent", 24 * MIB)
            _sampled(monitor)
            assert _written(monitor) == pytest.approx(56 * MIB, rel=0.05)
            child = worker.call("write_in_child", f"{folder}/last", 8 * MIB)
            _sampled(monitor)
            worker.call("finish_child", child)
    assert _written(monitor) == pytest.approx(64 * MIB, rel=0.05)


def _sampled(monitor: Monitor) -> None:
    """Have the tree looked at, which happens twice a second at most, and a sample taken."""
    count = monitor.samples()[-1]["elapsed"] if monitor.samples() else 0.0

    def looked() -> bool:
        with monitor.window("look"):
            pass
        return monitor.samples()[-1]["elapsed"] > count + 0.6

    wait_for(looked)
