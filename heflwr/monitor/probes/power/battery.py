"""Power of the whole machine by its battery, while it discharges; on the mains a battery says nothing of it."""

from __future__ import annotations

from glob import glob

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.power.meter import CounterMeter, LevelMeter, Meter
from heflwr.monitor.probes.power.sysfs import read_number, read_word

_SUPPLIES = "class/power_supply/*"

BATTERY = "battery"

_POWER = ((("power_now",), 1e-3), (("current_now", "voltage_now"), 1e-9))
"""Ways to the power in mW: files to multiply, and the scale (from uW, or uA times uV)."""

_ENERGY = ((("energy_now",), 3.6), (("charge_now", "voltage_now"), 3.6e-6))
"""Ways to the energy left in mJ: files to multiply, and the scale (from uWh, or uAh times uV)."""

_Way = tuple[tuple[str, ...], float]


def _read(folder: str, way: _Way) -> float:
    files, product = way
    for name in files:
        product *= abs(read_number(f"{folder}/{name}"))  # some drivers show discharging as negative
    return product


def _find_way(folder: str, ways: tuple[_Way, ...]) -> _Way | None:
    for way in ways:
        try:
            _read(folder, way)
            return way
        except OSError:
            continue
    return None


def _word(path: str) -> str:
    try:
        return read_word(path)
    except OSError:
        return ""


class Battery:
    """See `metering.Source`; its one part is "battery" (all of them together).

    Integrates the power where the battery tells it, else counts how its energy falls, which moves in coarse steps.
    """

    needs_polling = True

    def __init__(self, sys: str) -> None:
        """Remember where sysfs is."""
        self._sys = sys
        self.meters: dict[str, Meter] = {}

    def open(self) -> str:
        folders = [
            folder
            for folder in sorted(glob(f"{self._sys}/{_SUPPLIES}"))
            if _word(f"{folder}/type") == "Battery" and _word(f"{folder}/scope") != "Device"  # a mouse has one too
        ]
        if not folders:
            raise SourceUnavailable(f"battery: no {self._sys}/{_SUPPLIES} of type Battery")
        states = {folder: _word(f"{folder}/status") for folder in folders}
        if "Discharging" not in states.values():
            said = ", ".join(f"{folder} is {state or 'silent'}" for folder, state in states.items())
            raise SourceUnavailable(f"battery: tells the machine's power only while discharging; {said}")
        for ways, meter, sign in ((_POWER, LevelMeter(), 1), (_ENERGY, CounterMeter(), -1)):
            found = {folder: way for folder in folders if (way := _find_way(folder, ways)) is not None}
            if len(found) == len(folders):
                self._ways = found
                self._sign = sign
                self._meter: Meter = meter
                self.meters = {BATTERY: meter}
                return f"battery, by {' x '.join(found[folders[0]][0])}"
        names = ", ".join(name for files, _ in (*_POWER, *_ENERGY) for name in files)
        raise SourceUnavailable(f"battery: {', '.join(folders)} cannot be read ({names})")

    def poll(self, now_ns: int) -> None:
        discharging = [folder for folder in self._ways if read_word(f"{folder}/status") == "Discharging"]
        if not discharging:
            self._meter.cut()
            return
        # Power of those that give some; of energy all, since the sum must not jump when they take turns.
        folders = discharging if self._sign > 0 else list(self._ways)
        self._meter.add(now_ns, self._sign * sum(_read(folder, self._ways[folder]) for folder in folders))

    def close(self) -> None:
        """Nothing to give back: files are opened for each reading."""
