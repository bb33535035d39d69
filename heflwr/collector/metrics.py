"""What the collector knows of a metric by its name: its unit, and whether its values add up."""

from __future__ import annotations

from heflwr.monitor.metrics import METRICS, Kind

_UNITS = {metric.name: metric.unit for metric in METRICS}
_DELTAS = frozenset(metric.name for metric in METRICS if metric.kind is Kind.DELTA)

SPARKS = ("cpu_usage", "memory_usage", "network", "power")
"""What the fleet's table draws of every client: percent, percent, bytes a second (both ways), watts."""

NETWORK = ("network_bytes_sent", "network_bytes_recv")
POWER_MILLIWATTS = "power_vdd_in"


def unit_of(metric: str, said: object) -> str:
    """Return the unit that the sender said, else the one that heflwr gives a metric of that name, else ""."""
    if isinstance(said, dict) and isinstance(said.get(metric), str):
        return str(said[metric])
    return _UNITS.get(metric, "")


def adds_up(metric: str) -> bool:
    """Return whether the sum of a run's values means something: bytes do, percent do not."""
    return metric in _DELTAS
