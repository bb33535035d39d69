"""What the kernel counts of the calling process, read at the edges of a call. None or nothing where it does not."""

from __future__ import annotations

import os
import time
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def counters() -> dict[str, float]:
    """Return CPU seconds by kind, and how long the calling thread was ready to run but had to wait for a CPU."""
    found: dict[str, float] = {}
    if resource is not None:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        found |= {"cpu_user_seconds": own.ru_utime, "cpu_system_seconds": own.ru_stime}
        found["cpu_children_seconds"] = children.ru_utime + children.ru_stime
    else:
        times = os.times()
        found |= {"cpu_user_seconds": times.user, "cpu_system_seconds": times.system}
    with suppress(OSError, ValueError, IndexError), open("/proc/thread-self/schedstat", "rb") as file:
        found["cpu_wait_seconds"] = int(file.read().split()[1]) * 1e-9  # Documentation/scheduler/sched-stats.rst
    return found


def resident_bytes() -> int | None:
    """Return the process's resident memory (/proc/self/statm)."""
    with suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE
    return None


def age_seconds() -> float | None:
    """Return how long the process has lived."""
    with suppress(OSError, ValueError, IndexError, AttributeError), open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])  # proc(5): field 22, starttime
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return None
