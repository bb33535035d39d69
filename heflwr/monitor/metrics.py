"""THE table: every metric that heflwr knows, once. Whatever names, sums, prints or exports a metric reads it here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a value in a sample means."""

    LEVEL = "level"  # as it stood at the moment of the sample: memory, watts
    RATE = "rate"  # the mean over the time since the previous sample: % of the CPU
    DELTA = "delta"  # what was added since the previous sample: bytes, seconds, joules


class Reduction(Enum):
    """How a run's values become one number in summary()."""

    MEAN = "mean"  # over time, whatever the spacing of the samples
    TOTAL = "total"
    NONE = "none"  # not in summary()


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A metric's name on the Prometheus side, in base units.

    Attributes:
        name: Without the `_total` that a counter gets when it is exposed.
        scale: Multiply by this to get from our unit to the base unit.
        labels: Fixed labels, for example the rail.
        help: One sentence for all metrics of that name; the metric's own where empty.
    """

    name: str
    scale: float = 1.0
    labels: tuple[tuple[str, str], ...] = ()
    help: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One column of a sample.

    Attributes:
        name: Key in stats(), samples() and files.
        group: What set_metrics() switches.
        unit: For people: percent, bytes, seconds, milliwatts, millijoules, joules or count.
        kind: What a value means.
        reduction: What summary() makes of it.
        summary: Key in summary(), empty where it has none.
        help: One sentence.
        prometheus: Exported name, or None where another metric says it already.
        in_stats: False for columns behind the documented ones: in samples() and files, not in stats().
        whole: Values are counts and print as integers.
    """

    name: str
    group: str
    unit: str
    kind: Kind
    reduction: Reduction
    summary: str
    help: str
    prometheus: Prometheus | None
    in_stats: bool = True
    whole: bool = False

    def plain(self, value: float) -> float | int:
        """Return the value as the number a person expects: counts as int."""
        return int(value) if self.whole else value


def _rail(rail: str, help: str) -> tuple[Metric, Metric]:
    """Power of one rail and the energy behind it; vdd_in is the whole board, the others are parts of it."""
    if rail == "vdd_in":
        power, energy = Prometheus("heflwr_power_watts", 1e-3), Prometheus("heflwr_energy_joules", 1e-3)
    else:
        labels = (("rail", rail),)
        power = Prometheus("heflwr_rail_power_watts", 1e-3, labels, "Power of a part of the board.")
        energy = Prometheus("heflwr_rail_energy_joules", 1e-3, labels, "Energy of a part of the board.")
    return (
        Metric(f"power_{rail}", "power", "milliwatts", Kind.LEVEL, Reduction.NONE, "", f"Power of {help}.", power),
        Metric(
            f"energy_{rail}",
            "power",
            "millijoules",
            Kind.DELTA,
            Reduction.TOTAL,
            f"total_power_{rail}",
            f"Energy of {help}.",
            energy,
            in_stats=False,
        ),
    )


def _component(component: str, help: str) -> Metric:
    """Energy of one component; the system is all of them and more, so it has a name of its own to keep sums right."""
    if component == "system":
        exported = Prometheus("heflwr_system_energy_joules")
    else:
        labels = (("component", component),)
        exported = Prometheus("heflwr_component_energy_joules", 1.0, labels, "Energy of a kind of processor.")
    return Metric(
        f"energy_{component}_joules",
        "energy",
        "joules",
        Kind.DELTA,
        Reduction.TOTAL,
        f"total_energy_{component}_joules",
        help,
        exported,
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        "cpu_seconds",
        "cpu",
        "seconds",
        Kind.DELTA,
        Reduction.NONE,
        "",
        "CPU time (user and system) used by the process and its children.",
        Prometheus("heflwr_cpu_seconds"),
        in_stats=False,
    ),
    Metric(
        "cpu_usage",
        "cpu",
        "percent",
        Kind.RATE,
        Reduction.MEAN,
        "avg_cpu_usage",
        "CPU used by the process and its children, of the whole machine's capacity.",
        Prometheus("heflwr_cpu_usage_ratio", 1e-2),
    ),
    Metric(
        "memory_bytes",
        "memory",
        "bytes",
        Kind.LEVEL,
        Reduction.NONE,
        "",
        "Memory resident for the process and its children.",
        Prometheus("heflwr_memory_resident_bytes"),
        in_stats=False,
        whole=True,
    ),
    Metric(
        "memory_usage",
        "memory",
        "percent",
        Kind.LEVEL,
        Reduction.MEAN,
        "avg_memory_usage",
        "Memory resident for the process and its children, of the machine's memory.",
        Prometheus("heflwr_memory_usage_ratio", 1e-2),
    ),
    Metric(
        "network_bytes_sent",
        "network",
        "bytes",
        Kind.DELTA,
        Reduction.TOTAL,
        "total_network_bytes_sent",
        "Bytes sent.",
        Prometheus("heflwr_network_transmit_bytes", help="Bytes sent, by the host or by the process as was chosen."),
        whole=True,
    ),
    Metric(
        "network_bytes_recv",
        "network",
        "bytes",
        Kind.DELTA,
        Reduction.TOTAL,
        "total_network_bytes_recv",
        "Bytes received.",
        Prometheus("heflwr_network_receive_bytes", help="Bytes received, by the host or by the process as was chosen."),
        whole=True,
    ),
    *_rail("vdd_in", "the whole board"),
    *_rail("vdd_cpu_gpu_cv", "CPU, GPU and vision accelerators"),
    *_rail("vdd_soc", "the rest of the chip (memory, codecs)"),
    Metric(
        "disk_bytes_read",
        "disk",
        "bytes",
        Kind.DELTA,
        Reduction.TOTAL,
        "total_disk_bytes_read",
        "Bytes that the process and its children made the disks read.",
        Prometheus("heflwr_disk_read_bytes"),
        whole=True,
    ),
    Metric(
        "disk_bytes_written",
        "disk",
        "bytes",
        Kind.DELTA,
        Reduction.TOTAL,
        "total_disk_bytes_written",
        "Bytes that the process and its children made the disks write.",
        Prometheus("heflwr_disk_written_bytes"),
        whole=True,
    ),
    Metric(
        "gpu_usage",
        "gpu",
        "percent",
        Kind.LEVEL,
        Reduction.MEAN,
        "avg_gpu_usage",
        "Share of time in which a kernel ran, mean over the machine's GPUs.",
        Prometheus("heflwr_gpu_usage_ratio", 1e-2),
    ),
    Metric(
        "gpu_memory_bytes",
        "gpu",
        "bytes",
        Kind.LEVEL,
        Reduction.MEAN,
        "avg_gpu_memory_bytes",
        "GPU memory in use, all GPUs together.",
        Prometheus("heflwr_gpu_memory_used_bytes"),
        whole=True,
    ),
    Metric(
        "gpu_power",
        "gpu",
        "milliwatts",
        Kind.LEVEL,
        Reduction.MEAN,
        "avg_gpu_power",
        "Power of all GPUs together.",
        Prometheus("heflwr_gpu_power_watts", 1e-3),
    ),
    _component("cpu", "Energy of the CPU packages."),
    _component("gpu", "Energy of the GPUs."),
    _component("system", "Energy of the whole machine (board input rail or battery)."),
    Metric(
        "threads",
        "threads",
        "count",
        Kind.LEVEL,
        Reduction.MEAN,
        "avg_threads",
        "Threads of the process and its children.",
        Prometheus("heflwr_threads"),
        whole=True,
    ),
    Metric(
        "open_files",
        "threads",
        "count",
        Kind.LEVEL,
        Reduction.MEAN,
        "avg_open_files",
        "File descriptors open in the process and its children.",
        Prometheus("heflwr_open_file_descriptors"),
        whole=True,
    ),
    Metric(
        "context_switches",
        "threads",
        "count",
        Kind.DELTA,
        Reduction.TOTAL,
        "total_context_switches",
        "Context switches, voluntary and not.",
        Prometheus("heflwr_context_switches"),
        whole=True,
    ),
)

DEFAULT_GROUPS = {"cpu": True, "memory": True, "network": True, "power": False}
"""The documented groups: their keys are in stats() and summary() whether they are on or off."""

GROUPS: dict[str, bool] = DEFAULT_GROUPS | {
    metric.group: False for metric in METRICS if metric.group not in DEFAULT_GROUPS
}
"""Every group and whether a new monitor measures it."""


def in_groups(groups: dict[str, bool]) -> tuple[Metric, ...]:
    """Return the columns of the groups that are on, in the table's order."""
    return tuple(metric for metric in METRICS if groups[metric.group])


def documented(groups: dict[str, bool]) -> tuple[Metric, ...]:
    """Return the metrics whose keys stats() and summary() carry: the four groups always, others when on."""
    return tuple(metric for metric in METRICS if groups[metric.group] or metric.group in DEFAULT_GROUPS)
