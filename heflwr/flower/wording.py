"""Numbers and names of a run in the few characters that a row or a line of a terminal has for them."""

from __future__ import annotations

_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")
_JOULES = ("J", "kJ", "MJ", "GJ")


def printable(text: str) -> str:
    r"""Return text that came over a network with what would move the cursor, or reorder it, as \x1b or \u202e."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def seconds(value: float) -> str:
    """Return seconds with as many decimals as one can still tell apart, then as h:mm:ss."""
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.1f} s" if value < 600 else clock(value)


def clock(value: float) -> str:
    """Return seconds as h:mm:ss."""
    minutes, second = divmod(int(value), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}"


def size(value: float) -> str:
    """Return bytes in the largest unit of which there is one."""
    return _scaled(value, _BYTES, 1024)


def joules(value: float) -> str:
    """Return joules in the largest unit of which there is one."""
    return _scaled(value, _JOULES, 1000)


def _scaled(value: float, units: tuple[str, ...], step: int) -> str:
    place = 0
    while abs(value) >= step and place < len(units) - 1:
        value /= step
        place += 1
    digits = 0 if abs(value) >= 100 or not place else 1
    return f"{value:.{digits}f} {units[place]}"
