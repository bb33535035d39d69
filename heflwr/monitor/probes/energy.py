"""Energy of the machine's components in joules: CPU, GPU and the whole system, each from the source that has it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack

from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.power.battery import BATTERY, Battery
from heflwr.monitor.probes.power.board import board_sources
from heflwr.monitor.probes.power.metering import Metering, Source, open_first, refuse
from heflwr.monitor.probes.power.nvml import GPU, GpuEnergy
from heflwr.monitor.probes.power.rapl import PACKAGE, PLATFORM, Rapl
from heflwr.monitor.probes.power.tegrastats import Child

_BOARD = "vdd_in"

_COMPONENTS = {"cpu": (PACKAGE,), "gpu": (GPU,), "system": (_BOARD, PLATFORM, BATTERY)}
"""What may stand for each component, best first, in the metric table's order."""


class EnergyProbe:
    """Fills energy_cpu_joules, energy_gpu_joules and energy_system_joules; NaN for what the machine does not tell."""

    group = "energy"

    def __init__(self, machine: Machine, interval: float, child: Child | None = None) -> None:
        """Remember the machine, the seconds between samples, and the tegrastats to share with other probes."""
        self._machine = machine
        self._interval = interval
        self._child = child or Child(interval)

    def open(self) -> str:
        with ExitStack() as opened:  # closes the sources that are open where a later one ends the search
            text = self._open(opened)
            opened.pop_all()
        return text

    def _open(self, opened: ExitStack) -> str:
        sys = self._machine.sys
        refusals: list[str] = []
        sources: list[Source] = []
        texts: dict[str, str] = {}

        def find(ways: Iterable[Source]) -> None:
            """Open the first of these that can be."""
            if (found := open_first(ways, refusals)) is not None:
                source, text = found
                opened.callback(source.close)
                sources.append(source)
                texts.update(dict.fromkeys(source.meters, text))

        if sys is None:
            refusals.append("INA3221, RAPL, battery: this system has no sysfs")
        find(board_sources(sys, self._child))
        if sys is not None:
            find((Rapl(sys),))
        find((GpuEnergy(),))
        if sys is not None and not texts.keys() & {_BOARD, PLATFORM}:
            find((Battery(sys),))
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
