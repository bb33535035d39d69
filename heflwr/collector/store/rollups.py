"""Numbers of a stretch of time, a metric: count, least, sum, greatest and last. They add up, whatever the order."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import nan

from heflwr.collector.store.chunks import Chunk

LEVELS = (60, 900, 14_400)
"""Seconds of a bucket: a minute, a quarter of an hour, four hours. Each is about sixteen times the one before, so that
a chart of a few hundred points reads at most some thousand of them, whatever time it spans."""


@dataclass(slots=True)
class Rollup:
    """A bucket's numbers, a list each with one entry a metric.

    Attributes:
        last_time: Unix seconds of the latest sample.
    """

    counts: list[float] = field(default_factory=list)
    lows: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    lasts: list[float] = field(default_factory=list)
    last_time: float = nan

    def merge(self, other: Rollup) -> None:
        """Add what another bucket of the same metrics holds."""
        is_later = not other.last_time <= self.last_time
        for at, count in enumerate(other.counts):
            if not count:
                continue
            if not self.counts[at]:
                self.lows[at], self.highs[at], self.lasts[at] = other.lows[at], other.highs[at], other.lasts[at]
            else:
                self.lows[at] = min(self.lows[at], other.lows[at])
                self.highs[at] = max(self.highs[at], other.highs[at])
                if is_later:
                    self.lasts[at] = other.lasts[at]
            self.counts[at] += count
            self.sums[at] += other.sums[at]
        if is_later:
            self.last_time = other.last_time

    def only(self, place: int) -> Rollup:
        """Return one metric of it."""
        values = (self.counts, self.lows, self.sums, self.highs, self.lasts)
        counts, lows, sums, highs, lasts = ([numbers[place]] for numbers in values)
        return Rollup(counts, lows, sums, highs, lasts, self.last_time)

    def copy(self) -> Rollup:
        return Rollup(
            self.counts[:], self.lows[:], self.sums[:], self.highs[:], self.lasts[:], self.last_time
        )  # fmt: skip

    def pack(self) -> bytes:
        numbers = array("d", [*self.counts, *self.lows, *self.sums, *self.highs, *self.lasts, self.last_time])
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tobytes()


def unpack(data: bytes) -> Rollup:
    """Return what pack() was given."""
    numbers = array("d", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    *values, last_time = numbers.tolist()
    width = len(values) // 5
    counts, lows, sums, highs, lasts = (values[width * at : width * (at + 1)] for at in range(5))
    return Rollup(counts, lows, sums, highs, lasts, last_time)


def counts_and_sums(packed: Sequence[bytes], width: int, places: Sequence[int | None]) -> Iterator[tuple[float, ...]]:
    """Return counts, then sums, of some metrics: a tuple a bucket, in a tenth of unpack()'s time.

    Args:
        packed: What pack() gave, of buckets of the same metrics.
        width: Metrics that there are.
        places: Of those that are wanted; None for one that is not there, whose counts and sums are 0.
    """
    numbers = array("d", b"".join(packed))
    if sys.byteorder == "big":
        numbers.byteswap()
    zeros = array("d", bytes(8 * len(packed)))
    columns = [
        zeros if place is None else numbers[before + place :: 5 * width + 1]
        for before in (0, 2 * width)
        for place in places
    ]
    return zip(*columns, strict=True)


def of_chunk(chunk: Chunk, level: int) -> dict[int, Rollup]:
    """Return the buckets that a chunk's rows fall in; a bucket is Unix seconds divided by the level."""
    return of_steps(chunk, lambda time: int(time // level))


def of_steps(chunk: Chunk, step_at: Callable[[float], int]) -> dict[int, Rollup]:
    """Return what a chunk's rows add up to, by the step that a time falls in; step_at must not fall."""
    first, last = step_at(min(chunk.times)), step_at(max(chunk.times))
    if first == last:
        return {first: _of(chunk.times, chunk.columns)}
    rows: dict[int, list[int]] = {}
    for at, time in enumerate(chunk.times):
        rows.setdefault(step_at(time), []).append(at)
    return {
        step: _of([chunk.times[at] for at in places], ([column[at] for at in places] for column in chunk.columns))
        for step, places in rows.items()
    }


def _of(times: array[float] | list[float], columns: Iterable[array[float] | list[float]]) -> Rollup:
    rollup = Rollup(last_time=max(times))
    for column in columns:
        present = [value for value in column if value == value]
        rollup.counts.append(len(present))
        rollup.lows.append(min(present, default=nan))
        rollup.sums.append(sum(present))
        rollup.highs.append(max(present, default=nan))
        rollup.lasts.append(present[-1] if present else nan)
    return rollup


def coarser(finer: dict[int, Rollup], ratio: int) -> dict[int, Rollup]:
    """Return buckets that are `ratio` times as long."""
    found: dict[int, Rollup] = {}
    for bucket, rollup in sorted(finer.items()):
        above = found.get(bucket // ratio)
        if above is None:
            found[bucket // ratio] = rollup.copy()
        else:
            above.merge(rollup)
    return found
