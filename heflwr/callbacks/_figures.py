"""A run or a window as named numbers, as experiment trackers want them."""

from __future__ import annotations

from heflwr.monitor import Monitor, Window
from heflwr.monitor.metrics import METRICS

PREFIX = "heflwr/"
"""In front of every name: trackers make a group of what comes before the slash."""


def figures(measured: Monitor | Window) -> dict[str, float]:
    """Return the keys of summary() for what was measured, and three more; none where nothing ran.

    The three are `cpu_seconds`, `peak_memory_bytes` (the largest sample) and, of a window, `seconds`.
    """
    seen, summary = measured.describe(), measured.summary()
    found = {
        metric.summary: float(summary[metric.summary]) for metric in METRICS if metric.summary and metric.name in seen
    }
    if "cpu_seconds" in seen:
        found["cpu_seconds"] = seen["cpu_seconds"].total
    if "memory_bytes" in seen:
        found["peak_memory_bytes"] = float(seen["memory_bytes"].maximum)
    if seen and isinstance(measured, Window):
        found["seconds"] = measured.seconds
    return {PREFIX + name: value for name, value in found.items()}
