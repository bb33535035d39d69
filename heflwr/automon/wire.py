"""Numbers as bytes and back: counts of one to nine bytes and little-endian float64; sizes are checked before use."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from heflwr.automon.errors import MalformedMessage

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 1 << 63
"""Counts are below: nine bytes of seven bits."""

_FLOAT = struct.Struct("<d")


def count_bytes(number: int) -> bytes:
    """Return a count as seven bits a byte, the lowest first; all bytes but the last have their highest bit set.

    Raises:
        ValueError: It is negative, or 2^63 or more.
    """
    if not 0 <= number < MOST:
        raise ValueError(f"a count must be >= 0 and < 2**63, got {number}")
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def count_size(number: int) -> int:
    """Return how many bytes `count_bytes` makes of a number."""
    return max(1, (int(number).bit_length() + 6) // 7)


def float_bytes(number: float) -> bytes:
    """Return one float64."""
    return _FLOAT.pack(number)


def floats_bytes(array: NDArray[np.float64]) -> bytes:
    """Return the numbers of an array in C order, without its shape."""
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


class Reader:
    """Bytes that are read from front to back; whatever is not there raises MalformedMessage."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are still to be read."""
        return len(self._data) - self._at

    def take(self, size: int, what: str) -> bytes:
        """Return the next `size` bytes."""
        self._need(size, what)
        self._at += size
        return self._data[self._at - size : self._at]

    def byte(self, what: str) -> int:
        """Return the next byte as a number."""
        return self.take(1, what)[0]

    def count(self, what: str) -> int:
        """Return a count as `count_bytes` writes it, of which there is one form only."""
        number, shift = 0, 0
        while True:
            byte = self.byte(what)
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= 63:
                raise MalformedMessage(f"{what} is no count: it has more than nine bytes")
        if byte == 0 and shift > 7:
            raise MalformedMessage(f"{what} is no count: it is padded with zeros")
        return number

    def float(self, what: str) -> float:
        """Return one number, which may be infinite."""
        number: float = _FLOAT.unpack(self.take(8, what))[0]
        if number != number:
            raise MalformedMessage(f"{what} is not a number")
        return number

    def floats(self, shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
        """Return an array of finite numbers, the receiver's own."""
        count = 1
        for size in shape:
            count *= size
        self._need(8 * count, what)
        array = np.frombuffer(self._data, "<f8", count, self._at).astype(np.float64).reshape(shape)
        self._at += 8 * count
        if not np.isfinite(array).all():
            raise MalformedMessage(f"{what} holds a number that is not finite")
        return array

    def end(self) -> None:
        """Makes sure that all has been read."""
        if self.left:
            raise MalformedMessage(f"{self.left} bytes follow the end")

    def _need(self, size: int, what: str) -> None:
        if size > self.left:
            raise MalformedMessage(f"{what} takes {size} bytes, but {self.left} are left")
