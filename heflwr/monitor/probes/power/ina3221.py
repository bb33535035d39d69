"""Power rails of a Jetson board by its sensor chips, through sysfs: INA3221, and INA238 at Thor's input. No root.

L4T up to 32 has NVIDIA's own driver (iio, mW ready made); from 34 on the kernel's (hwmon, mV and mA). Bus numbers
differ from board to board and from boot to boot, so chips are found, never named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.power.meter import LevelMeter, Meter
from heflwr.monitor.probes.power.rails import NOT_CONNECTED, describe, find_board, total
from heflwr.monitor.probes.power.sysfs import read_number, read_word, why
from heflwr.monitor.sample import MISSING

SHORTEST_NS = 20_000_000
"""Readings are no closer: a rail is one or two I2C transfers of about a millisecond, and the chip averages anyway."""

_IIO = "bus/i2c/drivers/ina3221x/*/iio:device*"
_HWMON = "bus/i2c/drivers/ina3221/*/hwmon/hwmon*"
_INPUT = "bus/i2c/drivers/ina238/*/hwmon/hwmon*"


@dataclass(frozen=True, slots=True)
class Channel:
    """One rail of a chip.

    Attributes:
        rail: Its name.
        factors: Files whose numbers, multiplied, make the power.
        scale: Multiply the product by this to get mW.
    """

    rail: str
    factors: tuple[str, ...]
    scale: float

    def read(self) -> float:
        """Return the power, mW. Raises OSError."""
        power = self.scale
        for path in self.factors:
            power *= read_number(path)
        return power


def find_channels(sys: str) -> list[Channel]:
    """Return every wired channel of every power sensor chip below `sys`, readable or not."""
    return [*_find_iio(sys), *_find_hwmon(sys), *_find_input(sys)]


def _find_iio(sys: str) -> Iterator[Channel]:
    for chip in sorted(glob(f"{sys}/{_IIO}")):
        for number in range(3):
            if rail := _label(f"{chip}/rail_name_{number}"):
                yield Channel(rail, (f"{chip}/in_power{number}_input",), 1.0)


def _find_hwmon(sys: str) -> Iterator[Channel]:
    for chip in sorted(glob(f"{sys}/{_HWMON}")):
        for number in range(1, 4):  # in4 to in6 are shunt voltages, in7 is their sum
            if rail := _label(f"{chip}/in{number}_label"):
                yield Channel(rail, (f"{chip}/in{number}_input", f"{chip}/curr{number}_input"), 1e-3)


def _find_input(sys: str) -> Iterator[Channel]:
    for chip in sorted(glob(f"{sys}/{_INPUT}")):
        yield Channel(_label(f"{chip}/label") or "VIN", (f"{chip}/power1_input",), 1e-3)


def _label(path: str) -> str:
    try:
        label = read_word(path)
    except OSError:
        return ""
    return "" if label == NOT_CONNECTED else label


class Ina3221:
    """See `metering.Source`; its parts are those columns of `rails` that the board has."""

    needs_polling = True

    def __init__(self, sys: str) -> None:
        """Remember where sysfs is."""
        self._sys = sys
        self.meters: dict[str, Meter] = {}

    def open(self) -> str:
        readable: list[Channel] = []
        refused = ""
        channels = find_channels(self._sys)
        for channel in channels:
            try:
                channel.read()
                readable.append(channel)
            except OSError as error:  # a channel that is switched off has files too
                refused = refused or f"{channel.factors[-1]}: {why(error)}"
        if not channels:
            where = " nor ".join(f"{self._sys}/{pattern}" for pattern in (_IIO, _HWMON, _INPUT))
            raise SourceUnavailable(f"INA3221: neither {where}")
        names = {channel.rail for channel in readable}
        board = find_board(names)
        if board is None:
            found = ", ".join(channel.rail for channel in channels)
            raise SourceUnavailable(
                f"INA3221: cannot read {refused}"
                if refused
                else f"INA3221: shows only rails of a board that is not known here: {found}"
            )
        self._chosen = board.choose(names)
        wanted = {rail for rails in self._chosen.values() for rail in rails}
        self._channels = [channel for channel in readable if channel.rail in wanted]
        if not self._channels:
            raise SourceUnavailable(f"INA3221: of {board.name} only {', '.join(sorted(names))} can be read ({refused})")
        self.meters = {column: LevelMeter() for column in self._chosen}
        self._next_ns = 0
        return f"INA3221 in sysfs: {describe(self._chosen)}"

    def poll(self, now_ns: int) -> None:
        if now_ns < self._next_ns:
            return
        rails: dict[str, float] = {}
        failure: OSError | None = None
        for channel in self._channels:
            try:
                rails[channel.rail] = channel.read()
            except OSError as error:  # one busy channel is a gap in its own columns only
                rails[channel.rail] = MISSING
                failure = error
        if failure is not None and all(power != power for power in rails.values()):
            raise failure
        for column, meter in self.meters.items():
            meter.add(now_ns, total(rails, self._chosen[column]))
        self._next_ns = now_ns + SHORTEST_NS

    def close(self) -> None:
        """Nothing to give back: files are opened for each reading."""
