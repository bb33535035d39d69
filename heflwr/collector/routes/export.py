"""Raw samples as a file: CSV, JSON lines or Parquet, written while it is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from flask import Flask, Response

from heflwr.collector import arguments
from heflwr.collector.records import Refusal
from heflwr.collector.store import Store, reading
from heflwr.collector.store.database import Connection
from heflwr.collector.store.reading import RunRow

ROWS_AT_ONCE = 1_000

HEAD = ("identifier", "run", "sequence", "time")

Row = tuple[str, str, int, float, dict[str, Any]]

TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}


def add(app: Flask, store: Store) -> None:
    """Mount the endpoint."""

    def export() -> Response:
        arguments.only("format", "identifier", "run", "metric", "since", "until")
        ending = arguments.text("format") or "csv"
        if ending not in TYPES:
            raise Refusal(400, "query", f"format must be one of {', '.join(TYPES)}, got {ending[:40]!r}")
        names = arguments.texts("identifier"), arguments.texts("run")
        since, until = arguments.since_until()
        with store.reading() as reader:
            runs = [run for run in reading.runs(reader, *names) if run.last >= since and run.first <= until]
            metrics = arguments.texts("metric") or reading.metrics_of(reader, [run.id for run in runs])
        parts = _WRITERS[ending]()(_rows(store, runs, set(metrics), since, until), metrics)
        headers = {"Content-Disposition": f'attachment; filename="heflwr.{ending}"'}
        return Response(parts, content_type=TYPES[ending], headers=headers)

    app.add_url_rule("/api/v1/export", view_func=export)


def _rows(store: Store, runs: Sequence[RunRow], metrics: set[str], since: float, until: float) -> Iterator[list[Row]]:
    """Yield rows in portions: by run, the latest first, in the order of their sequence."""
    for run in runs:
        with store.reading() as reader:
            rows = _rows_of(reader, run, metrics, since, until)
            while portion := list(islice(rows, ROWS_AT_ONCE)):
                yield portion


def _rows_of(reader: Connection, run: RunRow, metrics: set[str], since: float, until: float) -> Iterator[Row]:
    columns = reading.Columns(reader)
    for columns_id, chunk in reading.chunks_of(reader, run.id, since, until):
        names = columns[columns_id]
        for row in chunk.rows():
            if since <= row.time <= until:
                values = {name: value for name, value in zip(names, row.values, strict=True) if name in metrics}
                yield run.identifier, run.run, row.sequence, row.time, values


def _csv(portions: Iterator[list[Row]], metrics: Sequence[str]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*HEAD, *metrics])
    for portion in portions:
        for identifier, run, sequence, time, values in portion:
            # a spreadsheet would run a text that begins like a formula
            safe = "'" + identifier if identifier[:1] in "=+-@\t\r" else identifier
            writer.writerow([safe, run, sequence, time, *(values.get(metric) for metric in metrics)])
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    yield text.getvalue().encode()


def _jsonl(portions: Iterator[list[Row]], metrics: Sequence[str]) -> Iterator[bytes]:
    for portion in portions:
        yield "".join(
            json.dumps({"identifier": identifier, "run": run, "sequence": sequence, "time": time, "values": values})
            + "\n"
            for identifier, run, sequence, time, values in portion
        ).encode()


def _parquet() -> _Writer:
    try:
        from heflwr.collector.parquet import parts
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise Refusal(
            406, "format", "this collector cannot write Parquet: pip install 'heflwr[parquet]' there, or take csv"
        ) from error
    return parts


_Writer = Callable[[Iterator[list[Row]], Sequence[str]], Iterator[bytes]]

_WRITERS: dict[str, Callable[[], _Writer]] = {"csv": lambda: _csv, "jsonl": lambda: _jsonl, "parquet": _parquet}
