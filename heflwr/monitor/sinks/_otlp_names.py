"""What OpenTelemetry calls each metric of `heflwr.monitor.metrics`: THE table, by its semantic conventions 1.44.

All of them have one. heflwr counts a process with its children, which the conventions do not forbid; it does
not tell user from system time, so `cpu.mode` is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""Which version of the conventions the names are from; backends translate from one to another by it."""


class Instrument(Enum):
    """What a stream of points is, in OpenTelemetry's words."""

    COUNTER = "counter"  # a sum since the start of the run that never falls
    UP_DOWN_COUNTER = "up_down_counter"  # a sum that may fall: what is in use now
    GAUGE = "gauge"  # not to be added up over processes or devices


@dataclass(frozen=True, slots=True)
class Convention:
    """A metric on OpenTelemetry's side.

    Attributes:
        name: Several of ours may share one; their attributes tell them apart.
        unit: UCUM.
        instrument: What its points are.
        description: One sentence; the metric's own where empty.
        attributes: Of each of its points.
        scale: Multiply by this to get from our unit to this one.
    """

    name: str
    unit: str
    instrument: Instrument
    description: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    scale: float = 1.0


def _network(direction: str) -> Convention:
    attributes = (("network.io.direction", direction),)
    return Convention("system.network.io", "By", Instrument.COUNTER, "Bytes sent and received.", attributes)


def _disk(direction: str) -> Convention:
    description = "Bytes that the process and its children made the disks read and write."
    return Convention("process.disk.io", "By", Instrument.COUNTER, description, (("disk.io.direction", direction),))


def _hardware(identifier: str, type: str) -> tuple[tuple[str, str], ...]:
    return ("hw.id", identifier), ("hw.type", type)


def _host_power(identifier: str) -> tuple[tuple[str, str], ...]:
    return (("hw.id", identifier),)


_POWER = "Power of a component."
_ENERGY = "Energy used by a component."
_HOST_POWER = "Power of the whole machine."
_HOST_ENERGY = "Energy used by the whole machine."

CONVENTIONS: Mapping[str, Convention] = {
    "cpu_seconds": Convention("process.cpu.time", "s", Instrument.COUNTER),
    "cpu_usage": Convention("process.cpu.utilization", "1", Instrument.GAUGE, scale=1e-2),
    "memory_bytes": Convention("process.memory.usage", "By", Instrument.UP_DOWN_COUNTER),
    "memory_usage": Convention("process.memory.utilization", "1", Instrument.GAUGE, scale=1e-2),
    "network_bytes_sent": _network("transmit"),
    "network_bytes_recv": _network("receive"),
    "power_vdd_in": Convention("hw.host.power", "W", Instrument.GAUGE, _HOST_POWER, _host_power("vdd_in"), 1e-3),
    "energy_vdd_in": Convention("hw.host.energy", "J", Instrument.COUNTER, _HOST_ENERGY, _host_power("vdd_in"), 1e-3),
    "power_vdd_cpu_gpu_cv": Convention(
        "hw.power", "W", Instrument.GAUGE, _POWER, _hardware("vdd_cpu_gpu_cv", "power_rail"), 1e-3
    ),
    "energy_vdd_cpu_gpu_cv": Convention(
        "hw.energy", "J", Instrument.COUNTER, _ENERGY, _hardware("vdd_cpu_gpu_cv", "power_rail"), 1e-3
    ),
    "power_vdd_soc": Convention("hw.power", "W", Instrument.GAUGE, _POWER, _hardware("vdd_soc", "power_rail"), 1e-3),
    "energy_vdd_soc": Convention(
        "hw.energy", "J", Instrument.COUNTER, _ENERGY, _hardware("vdd_soc", "power_rail"), 1e-3
    ),
    "disk_bytes_read": _disk("read"),
    "disk_bytes_written": _disk("write"),
    "gpu_usage": Convention("hw.gpu.utilization", "1", Instrument.GAUGE, "", _hardware("gpus", "gpu"), 1e-2),
    "gpu_memory_bytes": Convention(
        "hw.gpu.memory.usage", "By", Instrument.UP_DOWN_COUNTER, "", _hardware("gpus", "gpu")
    ),
    "gpu_power": Convention("hw.power", "W", Instrument.GAUGE, _POWER, _hardware("gpus", "gpu"), 1e-3),
    "energy_cpu_joules": Convention("hw.energy", "J", Instrument.COUNTER, _ENERGY, _hardware("cpus", "cpu")),
    "energy_gpu_joules": Convention("hw.energy", "J", Instrument.COUNTER, _ENERGY, _hardware("gpus", "gpu")),
    "energy_system_joules": Convention("hw.host.energy", "J", Instrument.COUNTER, _HOST_ENERGY, _host_power("system")),
    "threads": Convention("process.thread.count", "{thread}", Instrument.UP_DOWN_COUNTER),
    "open_files": Convention("process.unix.file_descriptor.count", "{file_descriptor}", Instrument.UP_DOWN_COUNTER),
    "context_switches": Convention("process.context_switches", "{context_switch}", Instrument.COUNTER),
}
"""By the metric's name in heflwr."""

_OWN_NETWORK = "process.network.io"


def convention(metric: str, sources: Mapping[str, str]) -> Convention:
    """Return what a metric is called in a run whose numbers come from these sources (`Run.sources`).

    Traffic is the host's or, with `network="process"`, that of the process.
    """
    found = CONVENTIONS[metric]
    if found.name == "system.network.io" and not sources.get("network", "host").startswith("host"):
        return dataclasses.replace(found, name=_OWN_NETWORK)
    return found
