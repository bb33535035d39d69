"""THE table of what one call of a ClientApp costs, and the report that carries it from the client to the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heflwr.monitor.metrics import Kind, Metric, Prometheus, Reduction

if TYPE_CHECKING:
    from heflwr.monitor import Aggregate


def _column(name: str, unit: str, kind: Kind, help: str, exported: str = "", scale: float = 1.0) -> Metric:
    reduction = Reduction.TOTAL if kind is Kind.DELTA else Reduction.MEAN
    summary = f"{'total' if kind is Kind.DELTA else 'avg'}_{name}"
    prometheus = Prometheus(exported, scale) if exported else None
    return Metric(name, "call", unit, kind, reduction, summary, help, prometheus, whole=unit == "bytes")


COLUMNS: tuple[Metric, ...] = (
    _column("seconds", "seconds", Kind.DELTA, "Wall time of the call.", "heflwr_client_call_seconds"),
    _column(
        "cpu_seconds",
        "seconds",
        Kind.DELTA,
        "CPU time of the process and its children during the call, the monitor's own left out.",
        "heflwr_client_cpu_seconds",
    ),
    _column(
        "cpu_user_seconds",
        "seconds",
        Kind.DELTA,
        "CPU time in user mode, children left out, the sampling thread included.",
    ),
    _column("cpu_system_seconds", "seconds", Kind.DELTA, "CPU time in the kernel, likewise."),
    _column("cpu_children_seconds", "seconds", Kind.DELTA, "CPU time of children that were waited for."),
    _column(
        "cpu_usage", "percent", Kind.RATE, "CPU used, of the whole machine.", "heflwr_client_cpu_usage_ratio", 1e-2
    ),
    _column("wait_share", "ratio", Kind.RATE, "Share of the wall time in which less than one core computed."),
    _column(
        "cpu_wait_seconds",
        "seconds",
        Kind.DELTA,
        "Time in which the calling thread was ready but had no CPU.",
        "heflwr_client_cpu_wait_seconds",
    ),
    _column("memory_bytes", "bytes", Kind.LEVEL, "Resident memory of the process at the end of the call."),
    _column(
        "memory_peak_bytes",
        "bytes",
        Kind.LEVEL,
        "Highest resident memory during the call, children included.",
        "heflwr_client_memory_peak_bytes",
    ),
    _column("memory_delta_bytes", "bytes", Kind.LEVEL, "The same less what it was at the beginning."),
    _column("network_bytes_sent", "bytes", Kind.DELTA, "Sent during the call.", "heflwr_client_network_transmit_bytes"),
    _column(
        "network_bytes_recv", "bytes", Kind.DELTA, "Received during the call.", "heflwr_client_network_receive_bytes"
    ),
    _column("disk_bytes_read", "bytes", Kind.DELTA, "Read from disks.", "heflwr_client_disk_read_bytes"),
    _column("disk_bytes_written", "bytes", Kind.DELTA, "Written to disks.", "heflwr_client_disk_written_bytes"),
    _column(
        "energy_joules", "joules", Kind.DELTA, "Energy of the node during the call.", "heflwr_client_energy_joules"
    ),
    _column("power_watts", "watts", Kind.LEVEL, "Mean power of the node during the call.", "heflwr_client_power_watts"),
    _column("gpu_usage", "percent", Kind.LEVEL, "Mean GPU use.", "heflwr_client_gpu_usage_ratio", 1e-2),
    _column("gpu_memory_peak_bytes", "bytes", Kind.LEVEL, "Highest GPU memory in use."),
    _column("arrays_bytes_in", "bytes", Kind.DELTA, "Arrays of the message that came in."),
    _column("metrics_bytes_in", "bytes", Kind.DELTA, "Metrics of the message that came in."),
    _column("config_bytes_in", "bytes", Kind.DELTA, "Configuration of the message that came in."),
    _column("arrays_bytes_out", "bytes", Kind.DELTA, "Arrays of the reply."),
    _column("metrics_bytes_out", "bytes", Kind.DELTA, "Metrics of the reply."),
    _column("config_bytes_out", "bytes", Kind.DELTA, "Configuration of the reply, this report left out."),
    _column("startup_seconds", "seconds", Kind.DELTA, "Age of the process at its first call."),
    _column("startup_cpu_seconds", "seconds", Kind.DELTA, "CPU time of the process before its first call."),
    _column("idle_seconds", "seconds", Kind.DELTA, "Wall time since the process's previous call."),
    _column(
        "idle_cpu_seconds",
        "seconds",
        Kind.DELTA,
        "CPU time used in that time; with a resident agent by the whole SuperNode.",
    ),
    _column("monitor_seconds", "seconds", Kind.DELTA, "Wall time that measuring this call took from it."),
    _column("overlapping", "count", Kind.LEVEL, "Most other calls that ran in the same process meanwhile."),
)
"""In the order in which they travel: new ones go to the end, none is ever removed or moved."""

NAMES = tuple(column.name for column in COLUMNS)

LARGEST = 1e15
"""No call costs more of anything: a petabyte, or thirty million years. Clients and files may say what they like, and
sums stay finite."""

_SIGNED = ("memory_delta_bytes",)
"""Columns that may be below 0."""


def is_possible(column: str, value: object) -> bool:
    """Tell whether a call can have cost that."""
    return isinstance(value, (int, float)) and (-LARGEST if column in _SIGNED else 0) <= value <= LARGEST


@dataclass(frozen=True, slots=True)
class Report:
    """What a client says of one call.

    Attributes:
        cost: Values by column name; those that this client could not measure are left out.
        started: Unix time at which the call began, by the client's clock, seconds.
        host: Name of the client's machine.
        name: What to call the node: its partition where it has one, else its id.
        pid: The process that ran the call.
        in_simulation: The call ran in a worker of Flower's simulation.
        sources: Where energy and network numbers come from, by group.
        notes: What could not be measured and why; what went wrong in measuring.
    """

    cost: Mapping[str, float]
    started: float = 0.0
    host: str = ""
    name: str = ""
    pid: int = 0
    in_simulation: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def joules_of(seen: Mapping[str, Aggregate]) -> float | None:
    """Return the node's energy by what a monitor saw: the whole board's where that is known, else its processors'."""
    if "energy_vdd_in" in seen:
        return seen["energy_vdd_in"].total * 1e-3
    if "energy_system_joules" in seen:
        return seen["energy_system_joules"].total
    parts = [seen[name].total for name in ("energy_cpu_joules", "energy_gpu_joules") if name in seen]
    return sum(parts) if parts else None
