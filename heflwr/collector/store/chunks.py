"""Rows of one run as bytes: a column after the other, eight bytes a number, zlib where that pays.

byte 0 is the version and whether zlib follows; then the number of rows and columns, whether the sequence numbers are
without a gap, and the numbers. NaN stands for a missing value: none comes in from outside.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from heflwr.collector.records import Row

_PLAIN, _PACKED = 1, 2
_HEAD = struct.Struct("<IHB")

PACK_BYTES = 600
"""Smaller chunks stay as they are: three rows of eight numbers, which a merge will pack later."""

_LEVEL = 1
"""zlib's fastest: the bytes are sorted by significance before, which does most of the work."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a run, column by column.

    Attributes:
        sequences: Rising.
        times: Unix seconds, as many.
        columns: One array a metric, NaN where missing.
    """

    sequences: Sequence[int]
    times: array[float]
    columns: list[array[float]]

    def rows(self) -> list[Row]:
        """Return the rows as they came in; a count is an int again."""
        values = zip(*(map(plain, column) for column in self.columns), strict=True)
        return [Row(*row) for row in zip(self.sequences, self.times, values, strict=True)]


def from_rows(rows: Sequence[Row]) -> Chunk:
    """Return rows of the same width as columns, sorted by sequence."""
    rows = sorted(rows, key=lambda row: row.sequence)
    columns = zip(*(row.values for row in rows), strict=True)
    return Chunk(
        [row.sequence for row in rows],
        array("d", [row.time for row in rows]),
        [
            array("d", column if None not in column else [math.nan if value is None else value for value in column])
            for column in columns
        ],
    )


def plain(value: float) -> float | int | None:
    """Return a number as a person expects it: None for NaN, an int where it is whole."""
    if value != value:
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def pack(chunk: Chunk) -> bytes:
    """Return the chunk as bytes."""
    sequences = chunk.sequences
    is_whole = sequences[-1] - sequences[0] == len(sequences) - 1
    numbers = array("q", sequences[:1] if is_whole else sequences)
    parts = [_bytes(numbers), _bytes(chunk.times), *map(_bytes, chunk.columns)]
    head = _HEAD.pack(len(sequences), len(chunk.columns), is_whole)
    body = b"".join(parts)
    if len(body) < PACK_BYTES:
        return bytes([_PLAIN]) + head + body
    return bytes([_PACKED]) + head + zlib.compress(b"".join(body[at::8] for at in range(8)), _LEVEL)


def unpack(data: bytes) -> Chunk:
    """Return what pack() was given.

    Raises:
        ValueError: These bytes are no chunk.
    """
    try:
        count, width, is_whole = _HEAD.unpack_from(data, 1)
        body = data[1 + _HEAD.size :]
        if data[0] == _PACKED:
            body = _unsorted(zlib.decompress(body))
        elif data[0] != _PLAIN:
            raise ValueError(f"a chunk of version {data[0]}, which this heflwr does not know")
    except (struct.error, IndexError, zlib.error) as error:
        raise ValueError(f"damaged chunk: {error}") from error
    at = 8 if is_whole else 8 * count
    if len(body) != at + 8 * count * (width + 1):
        raise ValueError("damaged chunk: its length is wrong")
    numbers = array("q", body[:at])
    times = array("d", body[at : at + 8 * count])
    columns = [array("d", body[at + 8 * count * place : at + 8 * count * (place + 1)]) for place in range(1, width + 1)]
    if sys.byteorder == "big":
        numbers.byteswap()
        for part in (times, *columns):
            part.byteswap()
    return Chunk(range(numbers[0], numbers[0] + count) if is_whole else numbers.tolist(), times, columns)


def _bytes(numbers: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _unsorted(data: bytes) -> bytes:
    count = len(data) // 8
    body = bytearray(8 * count)
    for at in range(8):
        body[at::8] = data[count * at : count * (at + 1)]
    return bytes(body)
