"""Numbers for people: a value in the unit of the metric table becomes a few digits with the unit one would say."""

from __future__ import annotations

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")

_SCALED = {
    "percent": (1.0, "%"),
    "seconds": (1.0, "s"),
    "milliwatts": (1e-3, "W"),
    "millijoules": (1e-3, "J"),
    "joules": (1.0, "J"),
    "count": (1.0, ""),
}
"""What a unit of the metric table is multiplied by, and called then."""


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
    power = 0
    while abs(value) >= 1024 and power < len(_BINARY) - 1:
        value /= 1024
        power += 1
    return value, _BINARY[power]


def mebibytes(value: float) -> str:
    """Return bytes in MiB, whatever their size: memory is compared in one unit."""
    return f"{value / 2**20:.1f} MiB"


def clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def _digits(number: float, name: str) -> str:
    if name == "B":
        return f"{number:.0f}"
    if name == "s":
        return f"{number:.3f}" if abs(number) < 10 else f"{number:.2f}"
    if not name and number == int(number):
        return f"{number:.0f}"
    if name == "%" and abs(number) < 1:  # a small program's share of a large machine is not nothing
        return f"{number:.3f}"
    return f"{number:.1f}"
