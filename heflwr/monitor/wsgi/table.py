"""One process's figures: records of doubles of a fixed size, in memory or in a file that other processes read.

    magic (16 bytes), faults (a double), RECORDS keys, RECORDS x WIDTH doubles, in the machine's byte order

A record's key is its length (a 16-bit number, written last: until then the record is not there) and JSON. A killed
process loses nothing: its stores are in the page cache. A reader sees each double whole.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from mmap import mmap
from typing import NamedTuple
from zlib import crc32

from heflwr.monitor.wsgi.routes import OTHER

RECORDS = 256
"""Series a process; what comes later is counted in the last one. All of them make a page of 1 MB."""

KEY_BYTES = 256
TEXT_BYTES = 100
"""Longest text of a label, in UTF-8: three fit into a key as JSON, unless it escapes much."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets; Prometheus' own defaults begin at 5 ms, which a model answers within."""

BYTES = tuple(4.0**power * 2**20 for power in range(7))
"""1 MiB to 4 GiB: below, the kernel's own counts are not exact (a batch of pages a core)."""

BOUNDS = (SECONDS, SECONDS, BYTES)
"""Of the distributions in a record: seconds, CPU seconds, rise of memory. Each is a sum and a count a bucket."""

EXCEPTIONS, PEAK = 0, 1
"""Columns before the distributions."""

STARTS = tuple(2 + sum(len(bounds) + 2 for bounds in BOUNDS[:place]) for place in range(len(BOUNDS)))
WIDTH = 2 + sum(len(bounds) + 2 for bounds in BOUNDS)

MAGIC = b"heflwr wsgi\0" + crc32(repr((RECORDS, KEY_BYTES, BOUNDS)).encode()).to_bytes(4, "big")
"""Another layout is another magic: after an upgrade, nobody adds to the figures of other buckets."""

_KEYS = len(MAGIC) + 8
_NUMBERS = _KEYS + RECORDS * KEY_BYTES
SIZE = _NUMBERS + RECORDS * WIDTH * 8

_LENGTH = struct.Struct("=H")


class Key(NamedTuple):
    """The labels of a series."""

    method: str
    route: str
    status: str


_REST = Key(OTHER, OTHER, OTHER)


class Observation(NamedTuple):
    """What one request cost; None where it cannot be told."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int | None
    rise_bytes: int | None
    is_failed: bool


class Table:
    """Records in a buffer. Whoever adds holds a lock; any thread or process may read meanwhile."""

    def __init__(self, buffer: bytearray | bytes | mmap) -> None:
        """Take a buffer of SIZE bytes, all zero or a table's.

        Raises:
            ValueError: A record's key is none.
        """
        self._buffer = buffer
        self._faults = memoryview(buffer)[len(MAGIC) : _KEYS].cast("d")
        self._numbers = memoryview(buffer)[_NUMBERS:].cast("d")
        self._places = {key: place for place, key in self._keys()}

    @classmethod
    def empty(cls) -> Table:
        """Return a table in this process's memory."""
        return cls(bytearray(SIZE))

    def close(self) -> None:
        """Give the buffer back, and with a file the lock on it; nothing but this may be called from then on."""
        self._faults.release()
        self._numbers.release()
        if isinstance(self._buffer, mmap):
            with suppress(BufferError):  # a thread that did not come along in a fork was reading it
                self._buffer.close()

    @property
    def faults(self) -> float:
        """How often measuring failed."""
        return self._faults[0]

    def count_fault(self) -> None:
        """Count one."""
        self._faults[0] += 1

    def forget_peaks(self) -> None:
        """Begin anew what belongs to one process's life; the rest are sums."""
        for place in range(len(self._places)):
            self._numbers[place * WIDTH + PEAK] = 0.0

    def add(self, key: Key, seen: Observation) -> None:
        """Count a request."""
        place = self._places.get(key)
        if place is None:
            place = self._new(key)
        at, numbers = place * WIDTH, self._numbers
        numbers[at + EXCEPTIONS] += seen.is_failed
        if seen.peak_bytes is not None and seen.peak_bytes > numbers[at + PEAK]:
            numbers[at + PEAK] = seen.peak_bytes
        values = (seen.seconds, seen.cpu_seconds, seen.rise_bytes)
        for start, bounds, value in zip(STARTS, BOUNDS, values, strict=True):
            if value is not None:
                numbers[at + start] += value
                numbers[at + start + 1 + bisect_left(bounds, value)] += 1

    def rows(self) -> Iterator[tuple[Key, list[float]]]:
        """Yield every series with its WIDTH numbers."""
        for key, place in tuple(self._places.items()):
            yield key, list(map(float, self._numbers[place * WIDTH : (place + 1) * WIDTH]))

    def _new(self, key: Key) -> int:
        """Return the place of a new record; where all are taken, that of the one for the rest."""
        place = len(self._places)
        if place >= RECORDS - 1:
            key = _REST
            if key in self._places:
                return self._places[key]
        text = json.dumps(key, ensure_ascii=False).encode()
        if len(text) > KEY_BYTES - _LENGTH.size:
            return self._places[_REST] if _REST in self._places else self._new(_REST)
        at = _KEYS + place * KEY_BYTES
        writable = memoryview(self._buffer)
        writable[at + _LENGTH.size : at + _LENGTH.size + len(text)] = text
        _LENGTH.pack_into(writable, at, len(text))
        self._places[key] = place
        return place

    def _keys(self) -> Iterator[tuple[int, Key]]:
        for place in range(RECORDS):
            at = _KEYS + place * KEY_BYTES
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if not length:
                return
            key = json.loads(self._buffer[at + _LENGTH.size : at + _LENGTH.size + length])
            if not isinstance(key, list) or len(key) != len(Key._fields):
                raise ValueError(f"record {place} has no key, but {key!r}")
            yield place, Key(*map(str, key))
