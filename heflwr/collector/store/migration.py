"""From the first schema, which kept a row of JSON a sample, to the second, which keeps chunks and rollups."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from heflwr.collector.records import Row
from heflwr.collector.store.chunks import from_rows
from heflwr.collector.store.database import Connection
from heflwr.collector.store.schema import tables
from heflwr.collector.store.writing import add_chunk

CHUNK_ROWS = 512


def migrate_first_schema(writer: Connection) -> None:
    """Move everything over, inside the caller's transaction."""
    for index in ("samples_by_time", "samples_by_run_and_time", "lines_by_time"):
        writer.execute(f"DROP INDEX {index}")
    for table in ("runs", "columns", "samples", "lines"):
        writer.execute(f"ALTER TABLE {table} RENAME TO first_{table}")
    for statement in tables("sqlite"):
        writer.execute(statement)
    writer.execute("INSERT INTO columns SELECT * FROM first_columns")
    writer.execute(
        "INSERT INTO lines (id, identifier, run, sequence, time, message, fields, received)"
        " SELECT id, identifier, run, sequence, time, message, fields, time FROM first_lines"
    )
    writer.execute(
        "INSERT INTO clients (identifier, runs) SELECT identifier, count(*) FROM first_runs GROUP BY identifier"
    )
    writer.execute(
        "INSERT INTO runs (id, client, run, about, samples, first, last, received)"
        " SELECT first_runs.id, clients.id, run, about, samples, first, last, received"
        " FROM first_runs JOIN clients USING (identifier)"
    )
    writer.execute(
        "UPDATE clients SET newest_run ="
        " (SELECT id FROM runs WHERE client = clients.id ORDER BY last DESC, id DESC LIMIT 1)"
    )
    for run_id, received in writer.execute("SELECT id, received FROM runs").fetchall():
        _migrate_run(writer, run_id, received)
    for table in ("samples", "runs", "columns", "lines"):
        writer.execute(f"DROP TABLE first_{table}")


def _migrate_run(writer: Connection, run_id: int, received: float) -> None:
    found = iter(
        writer.execute(
            "SELECT sequence, time, columns_id, row_values FROM first_samples WHERE run_id = ?"
            " ORDER BY columns_id, sequence",
            (run_id,),
        )
    )
    rows: list[Row] = []
    columns: Any = None
    last_sequence = -1
    while taken := list(islice(found, CHUNK_ROWS)):
        for sequence, time, columns_id, values in taken:
            if rows and (columns_id != columns or len(rows) == CHUNK_ROWS):
                add_chunk(writer, run_id, columns, from_rows(rows), received)
                rows = []
            columns = columns_id
            rows.append(Row(sequence, time, tuple(json.loads(values))))
            last_sequence = max(last_sequence, sequence)
    if rows:
        add_chunk(writer, run_id, columns, from_rows(rows), received)
    writer.execute("UPDATE runs SET last_sequence = ? WHERE id = ?", (last_sequence, run_id))
