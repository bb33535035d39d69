"""PowerProbe: power and energy of the board and its parts, from the best source that the machine has."""

from __future__ import annotations

from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.power.battery import BATTERY, Battery
from heflwr.monitor.probes.power.ina3221 import Ina3221
from heflwr.monitor.probes.power.metering import Metering, Source, open_first, refuse
from heflwr.monitor.probes.power.nvml import GPU, GpuEnergy
from heflwr.monitor.probes.power.rails import COLUMNS
from heflwr.monitor.probes.power.rapl import PACKAGE, PLATFORM, Rapl
from heflwr.monitor.probes.power.tegrastats import Tegrastats


class PowerProbe:
    """Fills power_* (mW, the latest reading) and energy_* (mJ since the previous sample) of the three rails.

    On a Jetson the sensors in sysfs, else tegrastats. On other machines RAPL: packages (and NVIDIA's GPUs, where there
    are any) as vdd_cpu_gpu_cv, the platform as vdd_in, or the battery while it discharges.
    """

    group = "power"

    def __init__(self, machine: Machine, interval: float) -> None:
        """Remember the machine and the seconds between samples."""
        self._machine = machine
        self._interval = interval

    def open(self) -> str:
        refusals: list[str] = []
        sys = self._machine.sys
        board = open_first((Ina3221(sys), Tegrastats(self._interval)), refusals)
        if board is not None:
            source, text = board
            self._parts: tuple[tuple[str, ...], ...] = tuple(
                (column,) if column in source.meters else () for column in COLUMNS
            )
            self._metering = Metering([source], self._interval)
            return text
        return self._open_other(sys, refusals)

    def _open_other(self, sys: str | None, refusals: list[str]) -> str:
        """Open what a machine without a Jetson's sensors may have."""
        sources: list[Source] = []
        texts: list[str] = []
        vdd_in: list[str] = []
        vdd_cpu_gpu_cv: list[str] = []
        if rapl := open_first((Rapl(sys),), refusals):
            sources.append(rapl[0])
            if PACKAGE in rapl[0].meters:
                vdd_cpu_gpu_cv.append(PACKAGE)
                if gpus := open_first((GpuEnergy(),), refusals):
                    sources.append(gpus[0])
                    vdd_cpu_gpu_cv.append(GPU)
            if PLATFORM in rapl[0].meters:
                vdd_in.append(PLATFORM)
        else:
            refusals.append("NVML: only added to RAPL's packages; by themselves GPUs are in the groups gpu and energy")
        if not vdd_in and (battery := open_first((Battery(sys),), refusals)):
            sources.append(battery[0])
            vdd_in.append(BATTERY)
        if not sources:
            raise refuse(self.group, "this machine has no power source that can be read", refusals)
        for column, parts in zip(COLUMNS, (vdd_in, vdd_cpu_gpu_cv), strict=False):
            if parts:
                texts.append(f"{column} = {' + '.join(_NAMES[part] for part in parts)}")
        self._parts = (tuple(vdd_in), tuple(vdd_cpu_gpu_cv), ())
        self._metering = Metering(sources, self._interval)
        return ", ".join(texts)

    def start(self, now_ns: int) -> None:
        self._metering.start(now_ns)

    def read(self, now_ns: int) -> tuple[float, ...]:
        self._metering.poll(now_ns)
        return tuple(value for parts in self._parts for value in self._metering.take(parts, now_ns))

    def close(self) -> None:
        self._metering.close()


_NAMES = {PACKAGE: "RAPL packages", PLATFORM: "RAPL psys", GPU: "NVML GPUs", BATTERY: "battery"}
