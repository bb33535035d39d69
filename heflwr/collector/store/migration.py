"""From the schemas of former versions to this one's, each inside the caller's transaction.

The first kept a row of JSON a sample; since the second there are chunks and rollups. In the second, windows and
functions belonged to no run and stayed for ever.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from heflwr.collector.records import Row
from heflwr.collector.store.chunks import from_rows
from heflwr.collector.store.database import Connection
from heflwr.collector.store.schema import reports, tables
from heflwr.collector.store.writing import add_chunk

CHUNK_ROWS = 512


def migrate_first_schema(writer: Connection) -> None:
    """Move everything over, from the first schema of SQLite."""
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


def migrate_second_schema(writer: Connection, dialect: str, now: float) -> None:
    """Give windows and functions to runs; their time to stay begins now, in Unix seconds."""
    for table in _TOLD:
        writer.execute(f"ALTER TABLE {table} RENAME TO second_{table}")
    for statement in reports(dialect):
        writer.execute(statement)
    told = "(SELECT identifier, run FROM second_windows UNION SELECT identifier, run FROM second_functions) AS told"
    writer.execute(
        f"INSERT INTO clients (identifier) SELECT DISTINCT identifier FROM {told}"
        " WHERE identifier NOT IN (SELECT identifier FROM clients)"
    )
    writer.execute(
        "INSERT INTO runs (client, run, first, last, received)"
        f" SELECT clients.id, told.run, 0.0, 0.0, CAST(? AS DOUBLE PRECISION) FROM {told}"
        " JOIN clients ON clients.identifier = told.identifier"
        " WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.client = clients.id AND runs.run = told.run)",
        (now,),
    )
    writer.execute("UPDATE clients SET runs = (SELECT count(*) FROM runs WHERE client = clients.id)")
    of_run = (
        "JOIN clients ON clients.identifier = second.identifier"
        " JOIN runs ON runs.client = clients.id AND runs.run = second.run"
    )
    writer.execute(
        "INSERT INTO windows SELECT runs.id, name, begun, ended, labels, CAST(? AS DOUBLE PRECISION)"
        f" FROM second_windows AS second {of_run}",
        (now,),
    )
    writer.execute(
        "INSERT INTO functions (client, run_id, name, unit, guarantee, reason, last_sequence)"
        " SELECT client, runs.id, name, unit, guarantee, reason, second.last_sequence"
        f" FROM second_functions AS second {of_run}"
    )
    writer.execute(
        "INSERT INTO function_points SELECT functions.id, sequence, time, round, value, bound, truth, live, stale,"
        " lost, messages, centralization, CAST(? AS DOUBLE PRECISION)"
        f" FROM second_function_points JOIN second_functions AS second ON second.id = function_id {of_run}"
        " JOIN functions ON functions.run_id = runs.id AND functions.name = second.name",
        (now,),
    )
    for table in _TOLD:
        writer.execute(f"DROP TABLE second_{table}")


_TOLD = ("function_points", "functions", "windows")


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
