"""What a container allows: found in recorded cgroup trees, and enforced by a real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from programs import need_root
from waiting import wait_for
from workloads import MIB, Worker

from heflwr.monitor import Monitor
from heflwr.monitor.probes.limits import Limits, read_limits
from heflwr.monitor.probes.machine import Machine

GIB = 1 << 30


@pytest.fixture(params=["thread", "process"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def record(root: Path, membership: str, files: dict[str, str]) -> Machine:
    """Write a proc and a sys tree: process 7's cgroups, and files under sys/fs/cgroup."""
    (root / "proc/7").mkdir(parents=True)
    (root / "proc/7/cgroup").write_text(membership)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(str(root / "proc"), str(root / "sys"))


RECORDED = {
    "v2 in a container": ("0::/\n", {"cpu.max": "50000 100000\n", "memory.max": "536870912\n"}, (0.5, GIB // 2, "v2")),
    "v2 without limits": ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, (None, None, "")),
    "v2, the tightest on the way up": (
        "0::/kube/pod/box\n",
        {
            "kube/pod/box/cpu.max": "max 100000\n",
            "kube/pod/cpu.max": "150000 100000\n",
            "kube/cpu.max": "400000 100000\n",
            "kube/pod/box/memory.max": f"{GIB}\n",
            "kube/pod/memory.max": f"{2 * GIB}\n",
        },
        (1.5, GIB, "v2"),
    ),
    "v2 path of the host, mount of the container": (
        "0::/docker/4f2a\n",
        {"cpu.max": "200000 100000\n", "memory.max": f"{GIB}\n"},
        (2.0, GIB, "v2"),
    ),
    "v1": (
        "5:memory:/docker/4f2a\n4:cpu,cpuacct:/docker/4f2a\n1:name=systemd:/docker/4f2a\n",
        {
            "cpu,cpuacct/docker/4f2a/cpu.cfs_quota_us": "25000\n",
            "cpu,cpuacct/docker/4f2a/cpu.cfs_period_us": "100000\n",
            "memory/docker/4f2a/memory.limit_in_bytes": f"{GIB}\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        (0.25, GIB, "v1"),
    ),
    "v1 without limits": (
        "5:memory:/\n4:cpu,cpuacct:/\n",
        {
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        (None, None, ""),
    ),
    "garbage": ("0::/\nnonsense\n", {"cpu.max": "soon later\n", "memory.max": "\n"}, (None, None, "")),
    "nothing mounted": ("0::/box\n", {}, (None, None, "")),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_limits(name: str, tmp_path: Path) -> None:
    """Quota in cores, memory in bytes, the tightest that applies, and where it was found."""
    membership, files, (cores, memory, version) = RECORDED[name]
    expected = Limits(cores, memory, f"cgroup {version}" if version else "")
    assert read_limits(record(tmp_path, membership, files), 7) == expected


def test_no_limits_without_linuxs_files() -> None:
    """Elsewhere there is nothing to read."""
    assert read_limits(Machine(proc=None, sys=None), 7) == Limits()


@pytest.fixture
def group() -> Iterator[list[str]]:
    """Real cgroups with half a core and 512 MiB, of whichever version this machine has."""
    need_root("makes a cgroup")
    root, name = Path("/sys/fs/cgroup"), f"heflwr{os.getpid()}"
    one, two = root / "cpu" / name, root / name
    made: list[Path] = []
    try:
        if (root / "cgroup.controllers").exists():
            with suppress(OSError):  # on already, or a machine whose manager does not let us
                (root / "cgroup.subtree_control").write_text("+cpu +memory")
            two.mkdir()
            made.append(two)
            (two / "cpu.max").write_text("50000 100000")
            (two / "memory.max").write_text(str(512 * MIB))
        else:
            memory = root / "memory" / name
            for folder in (one, memory):
                folder.mkdir()
                made.append(folder)
            (one / "cpu.cfs_period_us").write_text("100000")
            (one / "cpu.cfs_quota_us").write_text("50000")
            (memory / "memory.limit_in_bytes").write_text(str(512 * MIB))
    except OSError as error:
        _remove(made)
        pytest.skip(f"this machine lets nobody make a limited cgroup: {error}")
    yield [str(folder) for folder in made]
    _remove(made)


def _remove(folders: list[Path]) -> None:
    def is_gone(folder: Path) -> bool:
        with suppress(OSError):  # busy until its last process is gone
            folder.rmdir()
        return not folder.exists()

    for folder in folders:
        wait_for(lambda folder=folder: is_gone(folder))


def test_a_throttled_burn_is_100_percent_of_its_limit(runner: str, group: list[str]) -> None:
    """Half a core burnt to the full, and 256 of 512 MiB: percent of the limit say so, and health says what it is."""
    with Worker() as worker:
        worker.call("enter", *group)
        held = worker.call("hold", 256)
        with Monitor(runner=runner, interval=0.1, pid=worker.pid, relative_to="limit") as monitor:
            truth = worker.call("burn", 2.0)
        limits = monitor.health.limits
        wall = monitor.samples()[-1]["elapsed"]
    assert (limits["cpu_cores"], limits["memory_bytes"]) == (0.5, 512 * MIB)
    usage = monitor.summary()["avg_cpu_usage"]
    assert usage == pytest.approx(100 * truth["cpu"] / wall / 0.5, abs=4.0)  # 2 points of a core
    assert usage > 60  # of the whole machine it would be a quarter
    assert monitor.summary()["avg_memory_usage"] == pytest.approx(100 * held / (512 * MIB), rel=0.02)
