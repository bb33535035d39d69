"""What a store does to itself: small chunks become large ones."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from heflwr.collector.store.chunks import Chunk, pack, unpack
from heflwr.collector.store.database import Connection
from heflwr.collector.store.writing import bounds

MERGED_ROWS = 2_048
"""Most rows of a merged chunk: half an hour at 1 Hz, some 20 KB."""

CHUNKS_AT_ONCE = 500
"""Chunks that one transaction merges: writers wait for some hundredths of a second."""


def to_merge(reader: Connection, after: int, upto: int) -> list[list[int]]:
    """Return, for each run and columns, the chunks in a range of numbers that one chunk could hold."""
    groups: dict[tuple[int, int], list[list[int]]] = {}
    sizes: dict[tuple[int, int], int] = {}
    for number, run_id, columns_id, samples in reader.execute(
        "SELECT id, run_id, columns_id, samples FROM chunks WHERE id > ? AND id <= ? ORDER BY id", (after, upto)
    ):
        key = (run_id, columns_id)
        size = sizes.get(key, 0) + samples
        if key not in groups or size > MERGED_ROWS or len(groups[key][-1]) >= CHUNKS_AT_ONCE:
            groups.setdefault(key, []).append([])
            size = samples
        groups[key][-1].append(number)
        sizes[key] = size
    return [group for found in groups.values() for group in found if len(group) > 1]


def merge(writer: Connection, numbers: Sequence[int]) -> None:
    """Make one chunk of several of the same run and columns, all of which are rolled up."""
    marks = ", ".join("?" * len(numbers))
    found = writer.execute(
        f"SELECT run_id, columns_id, received, data FROM chunks WHERE id IN ({marks}) ORDER BY id", tuple(numbers)
    ).fetchall()
    if len(found) < 2:
        return
    chunk = joined([unpack(data) for *_, data in found])
    writer.execute(f"DELETE FROM chunks WHERE id IN ({marks})", tuple(numbers))
    writer.execute(
        "INSERT INTO chunks (id, run_id, columns_id, first_sequence, last_sequence, first_time, last_time, received,"
        " samples, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            min(numbers),
            *found[0][:2],
            *bounds(chunk),
            max(received for _, _, received, _ in found),
            len(chunk.times),
            pack(chunk),
        ),
    )


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Return the rows of all, in the order of their sequence."""
    sequences = [sequence for chunk in chunks for sequence in chunk.sequences]
    order = sorted(range(len(sequences)), key=sequences.__getitem__)

    def sort(arrays: list[array[float]]) -> array[float]:
        numbers = [number for part in arrays for number in part]
        return array("d", [numbers[at] for at in order])

    return Chunk(
        [sequences[at] for at in order],
        sort([chunk.times for chunk in chunks]),
        [sort([chunk.columns[at] for chunk in chunks]) for at in range(len(chunks[0].columns))],
    )
