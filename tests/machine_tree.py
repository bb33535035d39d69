"""A recorded sysfs in a folder of the test: power sensors, processor counters, batteries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from heflwr.monitor.probes.machine import Machine


class Tree:
    """Writes files as the kernel would show them."""

    def __init__(self, root: Path) -> None:
        self.root = root / "sys"
        self.root.mkdir()

    @property
    def machine(self) -> Machine:
        """The machine that has this sysfs."""
        return Machine("/proc", str(self.root))

    def write(self, folder: str, files: Mapping[str, object]) -> Path:
        """Write (over) files of one folder, and return the folder."""
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (path / name).write_text(f"{value}\n")
        return path

    def hwmon(self, bus: str, rails: Mapping[str, tuple[int, int]]) -> Path:
        """An INA3221 under the kernel's driver: label -> (mV, mA)."""
        files: dict[str, object] = {"in7_label": "sum of shunt voltages", "in7_input": 99}
        for number, (rail, (millivolts, milliamperes)) in enumerate(rails.items(), 1):
            files |= {f"in{number}_label": rail, f"in{number}_input": millivolts, f"curr{number}_input": milliamperes}
        return self.write(f"bus/i2c/drivers/ina3221/{bus}/hwmon/hwmon3", files)

    def iio(self, bus: str, rails: Mapping[str, int]) -> Path:
        """An INA3221 under NVIDIA's old driver: label -> mW."""
        files: dict[str, object] = {}
        for number, (rail, milliwatts) in enumerate(rails.items()):
            files |= {f"rail_name_{number}": rail, f"in_power{number}_input": milliwatts}
        return self.write(f"bus/i2c/drivers/ina3221x/{bus}/iio:device0", files)

    def rapl(self, zone: str, name: str, microjoules: int, highest: int = 262_143_328_850) -> Path:
        """A RAPL domain."""
        files = {"name": name, "energy_uj": microjoules, "max_energy_range_uj": highest}
        return self.write(f"class/powercap/intel-rapl:{zone}", files)

    def battery(self, name: str = "BAT0", **files: object) -> Path:
        """A battery."""
        return self.write(f"class/power_supply/{name}", {"type": "Battery", **files})


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to read everything, for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
