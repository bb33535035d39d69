"""The machine that was measured on, and how busy it was with other things meanwhile."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Return what the figures depend on."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:")), 0)
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**20, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def busy_and_stolen() -> tuple[float, float, float]:
    """Return seconds since boot of all CPUs together: busy, stolen by the hypervisor, and in all."""
    fields = [int(field) for field in _lines("/proc/stat")[0].split()[1:9]]
    tick = 1 / os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) * tick, fields[7] * tick, sum(fields) * tick


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
