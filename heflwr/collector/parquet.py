"""Rows as a Parquet file, in portions."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet


def parts(
    portions: Iterator[list[tuple[str, str, int, float, dict[str, Any]]]], metrics: Sequence[str]
) -> Iterator[bytes]:
    """Yield the bytes of a file with columns identifier, run, sequence, time (UTC, microseconds) and one a metric."""
    schema = pa.schema(
        [
            ("identifier", pa.string()),
            ("run", pa.string()),
            ("sequence", pa.int64()),
            ("time", pa.timestamp("us", tz="UTC")),
            *((metric, pa.float64()) for metric in metrics),
        ]
    )
    file = _Sink()
    with parquet.ParquetWriter(file, schema) as writer:
        for portion in portions:
            identifiers, runs, sequences, times, values = zip(*portion, strict=True)
            columns: list[Any] = [
                pa.array(identifiers, pa.string()),
                pa.array(runs, pa.string()),
                pa.array(sequences, pa.int64()),
                pa.array([round(time * 1e6) for time in times], pa.int64()).cast(pa.timestamp("us", tz="UTC")),
                *(pa.array([_float(row.get(metric)) for row in values], pa.float64()) for metric in metrics),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            yield file.taken()
    yield file.taken()


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


class _Sink(io.RawIOBase):
    """A file that is only written, from its beginning to its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
