"""PowerProbe: power and energy of the board and its parts, from the best source that the machine has."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack

from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.power.battery import BATTERY, Battery
from heflwr.monitor.probes.power.board import board_sources
from heflwr.monitor.probes.power.metering import Metering, Source, open_first, refuse
from heflwr.monitor.probes.power.nvml import GPU, GpuEnergy
from heflwr.monitor.probes.power.rails import COLUMNS
from heflwr.monitor.probes.power.rapl import PACKAGE, PLATFORM, Rapl
from heflwr.monitor.probes.power.tegrastats import Child


class PowerProbe:
    """Fills power_* (mW, the latest reading) and energy_* (mJ since the previous sample) of the three rails.

    On a Jetson the sensors in sysfs, else tegrastats. On other machines RAPL: packages (and NVIDIA's GPUs, where there
    are any) as vdd_cpu_gpu_cv, the platform as vdd_in, or the battery while it discharges.
    """

    group = "power"

    def __init__(self, machine: Machine, interval: float, child: Child | None = None) -> None:
        """Remember the machine, the seconds between samples, and the tegrastats to share with other probes."""
        self._machine = machine
        self._interval = interval
        self._child = child or Child(interval)

    def open(self) -> str:
        refusals: list[str] = []
        with ExitStack() as opened:  # closes the sources that are open where a later one ends the search
            text = self._open_board(opened, refusals) or self._open_other(opened, refusals)
            opened.pop_all()
        return text

    def _open_board(self, opened: ExitStack, refusals: list[str]) -> str:
        """Open a Jetson's sensors; return "" where there are none."""
        board = open_first(board_sources(self._machine.sys, self._child), refusals)
        if board is None:
            return ""
        source, text = board
        opened.callback(source.close)
        self._parts: tuple[tuple[str, ...], ...] = tuple(
            (column,) if column in source.meters else () for column in COLUMNS
        )
        self._metering = Metering([source], self._interval)
        return text

    def _open_other(self, opened: ExitStack, refusals: list[str]) -> str:
        """Open what a machine without a Jetson's sensors may have."""
        sys = self._machine.sys
        sources: list[Source] = []
        vdd_in: list[str] = []
        vdd_cpu_gpu_cv: list[str] = []

        def find(source: Source) -> Collection[str]:
            """Open one more source; return its parts."""
            if open_first((source,), refusals) is None:
                return ()
            opened.callback(source.close)
            sources.append(source)
            return source.meters.keys()

        if sys is None:
            refusals.append("INA3221, RAPL, battery: this system has no sysfs")
        parts = find(Rapl(sys)) if sys is not None else ()
        if PACKAGE in parts:
            vdd_cpu_gpu_cv.append(PACKAGE)
            vdd_cpu_gpu_cv.extend(find(GpuEnergy()))
        if PLATFORM in parts:
            vdd_in.append(PLATFORM)
        if not parts:
            refusals.append("NVML: only added to RAPL's packages; by themselves GPUs are in the groups gpu and energy")
        if not vdd_in and sys is not None:
            vdd_in.extend(find(Battery(sys)))
        if not sources:
            raise refuse(self.group, "this machine has no power source that can be read", refusals)
        self._parts = (tuple(vdd_in), tuple(vdd_cpu_gpu_cv), ())
        self._metering = Metering(sources, self._interval)
        return ", ".join(
            f"{column} = {' + '.join(_NAMES[part] for part in parts)}"
            for column, parts in zip(COLUMNS, self._parts, strict=True)
            if parts
        )

    def start(self, now_ns: int) -> None:
        self._metering.start(now_ns)

    def read(self, now_ns: int) -> tuple[float, ...]:
        self._metering.poll(now_ns)
        return tuple(value for parts in self._parts for value in self._metering.take(parts, now_ns))

    def close(self) -> None:
        self._metering.close()


_NAMES = {PACKAGE: "RAPL packages", PLATFORM: "RAPL psys", GPU: "NVML GPUs", BATTERY: "battery"}
