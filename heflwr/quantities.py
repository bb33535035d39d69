"""Numbers as people read them: a value becomes a few digits with the unit that one would say.

`quantity` is for summaries, where the same metric of two runs is compared; `seconds`, `size` and `joules` are for rows
and lines of a terminal, which have fewer characters for each.
"""

from __future__ import annotations

import math

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_JOULES = ("J", "kJ", "MJ", "GJ")

_SCALED = {
    "percent": (1.0, "%"),
    "seconds": (1.0, "s"),
    "milliwatts": (1e-3, "W"),
    "millijoules": (1e-3, "J"),
    "joules": (1.0, "J"),
    "count": (1.0, ""),
}
"""What a unit of the metric table is multiplied by, and called then."""

_LONG_SECONDS = 600.0
"""From here on, minutes say more than seconds do."""


def quantity(value: float, unit: str, per: str = "") -> str:
    """Return `value` with its unit, for example "12.3 MiB" or, with per="/s", "4.0 KiB/s".

    Args:
        value: In `unit`.
        unit: As in the metric table.
        per: Follows the unit.
    """
    if unit == "bytes":
        number, name = binary(value)
    else:
        scale, name = _SCALED[unit]
        number = value * scale
    return f"{_digits(number, name)} {name}{per}".rstrip()


def binary(value: float) -> tuple[float, str]:
    """Return bytes as a number below 1024 and the unit that this takes."""
    return _in_largest(value, _BYTES, 1024)


def mebibytes(value: float) -> str:
    """Return bytes in MiB, whatever their size: memory is compared in one unit."""
    return f"{value / 2**20:.1f} MiB"


def clock(value: float) -> str:
    """Return seconds as h:mm:ss; "inf" and "nan" where there is no such number."""
    if not math.isfinite(value):
        return str(value)
    minutes, second = divmod(int(abs(value)), 60)
    hour, minute = divmod(minutes, 60)
    return f"{'-' if value <= -1 else ''}{hour}:{minute:02}:{second:02}"


def seconds(value: float) -> str:
    """Return seconds with as many decimals as one can still tell apart, then as h:mm:ss."""
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < _LONG_SECONDS else clock(value)


def size(value: float) -> str:
    """Return bytes in the largest unit of which there is one."""
    return _brief(*_in_largest(value, _BYTES, 1024))


def joules(value: float) -> str:
    """Return joules in the largest unit of which there is one."""
    return _brief(*_in_largest(value, _JOULES, 1000))


def _in_largest(value: float, units: tuple[str, ...], step: int) -> tuple[float, str]:
    place = 0
    while abs(value) >= step and place < len(units) - 1:
        value /= step
        place += 1
    return value, units[place]


def _brief(number: float, name: str) -> str:
    digits = 0 if abs(number) >= 100 or name in (_BYTES[0], _JOULES[0]) else 1
    return f"{number:.{digits}f} {name}"


def _digits(number: float, name: str) -> str:
    if name == "B":
        return f"{number:.0f}"
    if name == "s":
        return f"{number:.3f}" if abs(number) < 10 else f"{number:.2f}"
    if not name and number % 1 == 0:
        return f"{number:.0f}"
    if name == "%" and abs(number) < 1:  # a small program's share of a large machine is not nothing
        return f"{number:.3f}"
    return f"{number:.1f}"
