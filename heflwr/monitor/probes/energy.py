"""Energy of the machine's components in joules: CPU, GPU and the whole system, each from the source that has it."""

from __future__ import annotations

from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.power.battery import BATTERY, Battery
from heflwr.monitor.probes.power.ina3221 import Ina3221
from heflwr.monitor.probes.power.metering import Metering, Source, open_first, refuse
from heflwr.monitor.probes.power.nvml import GPU, GpuEnergy
from heflwr.monitor.probes.power.rapl import PACKAGE, PLATFORM, Rapl
from heflwr.monitor.probes.power.tegrastats import Tegrastats

_BOARD = "vdd_in"

_COMPONENTS = {"cpu": (PACKAGE,), "gpu": (GPU,), "system": (_BOARD, PLATFORM, BATTERY)}
"""What may stand for each component, best first, in the metric table's order."""


class EnergyProbe:
    """Fills energy_cpu_joules, energy_gpu_joules and energy_system_joules; NaN for what the machine does not tell."""

    group = "energy"

    def __init__(self, machine: Machine, interval: float) -> None:
        """Remember the machine and the seconds between samples."""
        self._machine = machine
        self._interval = interval

    def open(self) -> str:
        sys = self._machine.sys
        refusals: list[str] = []
        sources: list[Source] = []
        texts: dict[str, str] = {}
        ways: tuple[tuple[Source, ...], ...] = (
            (Ina3221(sys), Tegrastats(self._interval)),
            (Rapl(sys),),
            (GpuEnergy(),),
        )
        for way in ways:
            if (opened := open_first(way, refusals)) is not None:
                sources.append(opened[0])
                texts |= dict.fromkeys(opened[0].meters, opened[1])
        if not texts.keys() & {_BOARD, PLATFORM} and (battery := open_first((Battery(sys),), refusals)) is not None:
            sources.append(battery[0])
            texts[BATTERY] = battery[1]
        if not sources:
            raise refuse(self.group, "this machine has no energy source that can be read", refusals)
        self._parts = {
            component: next(((part,) for part in parts if part in texts), ())
            for component, parts in _COMPONENTS.items()
        }
        self._metering = Metering(sources, self._interval)
        return "; ".join(
            f"{component}: {texts[parts[0]] if parts else 'none'}" for component, parts in self._parts.items()
        )

    def start(self, now_ns: int) -> None:
        self._metering.start(now_ns)

    def read(self, now_ns: int) -> tuple[float, ...]:
        self._metering.poll(now_ns)
        return tuple(self._metering.take(parts, now_ns).energy_millijoules * 1e-3 for parts in self._parts.values())

    def close(self) -> None:
        self._metering.close()
