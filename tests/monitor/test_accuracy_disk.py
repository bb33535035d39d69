"""Disk traffic against truth by construction: files of known size, written through."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from workloads import MIB, Worker

from heflwr.monitor import Monitor

SIZE = 64 * MIB
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "overlay", "devtmpfs"}
"""Where a write may reach no disk at all, or one that is not told apart."""


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    """A directory on a real disk."""
    for candidate in (tmp_path, Path("/var/tmp"), Path.cwd()):
        if os.access(candidate, os.W_OK) and _file_system(candidate) not in MEMORY_FILE_SYSTEMS:
            with tempfile.TemporaryDirectory(dir=candidate) as made:
                yield made
            return
    pytest.skip("this test needs a writable directory on a disk: neither the temporary one nor /var/tmp is")


def _file_system(path: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    return max((len(at), kind) for at, kind in mounts if path.resolve().is_relative_to(at))[1]


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
