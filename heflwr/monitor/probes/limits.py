"""What a container allows: CPU quota and memory limit, from cgroup v2 or v1. Inside one, % of the machine misleads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from heflwr.monitor.probes.machine import Machine

_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2^63."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What applies to the watched process; None where nothing does.

    Attributes:
        cpu_cores: CPU quota, in cores.
        memory_bytes: Memory limit, bytes.
        source: Where the limits were found, for example "cgroup v2"; empty where there are none.
    """

    cpu_cores: float | None = None
    memory_bytes: int | None = None
    source: str = ""


def read_limits(machine: Machine, pid: int) -> Limits:
    """Return the tightest limits on the path from the process's cgroup to the root; never raises."""
    if machine.proc is None or machine.sys is None:
        return Limits()
    try:
        lines = Path(machine.proc, str(pid), "cgroup").read_text().splitlines()
    except OSError:
        return Limits()
    root = Path(machine.sys, "fs/cgroup")
    cores: list[float] = []
    memory: list[int] = []
    versions: set[str] = set()
    for line in lines:
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = "v2" if hierarchy == "0" and not controllers else "v1"
        if version == "v2":
            bases = [root, root / "unified"]
        else:
            bases = [root / name for name in {controllers, *controllers.split(",")}]
        for base in bases:
            for folder in _up(base, path):
                before = len(cores) + len(memory)
                cores += _quota_v2(folder) if version == "v2" else _quota_v1(folder)
                memory += _memory(folder / ("memory.max" if version == "v2" else "memory.limit_in_bytes"))
                if len(cores) + len(memory) > before:
                    versions.add(f"cgroup {version}")
    return Limits(min(cores, default=None), min(memory, default=None), ", ".join(sorted(versions)))


def _up(base: Path, path: str) -> list[Path]:
    """Return the folders from the process's cgroup up to the mount; inside a container only the mount exists."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [folder for n in range(len(parts), -1, -1) if (folder := base.joinpath(*parts[:n])).is_dir()]


def _quota_v2(folder: Path) -> list[float]:
    return _ratio(_numbers(folder / "cpu.max"))


def _quota_v1(folder: Path) -> list[float]:
    return _ratio(_numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us"))


def _ratio(quota_and_period: list[int]) -> list[float]:
    if len(quota_and_period) != 2 or min(quota_and_period) <= 0:  # v1 writes no limit as -1
        return []
    return [quota_and_period[0] / quota_and_period[1]]


def _memory(file: Path) -> list[int]:
    return [number for number in _numbers(file)[:1] if number < _UNLIMITED_BYTES]


def _numbers(file: Path) -> list[int]:
    """Return the numbers in a file; none where it is absent or says "max" or anything else."""
    try:
        return [int(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []
