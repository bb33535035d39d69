"""Log lines, and the samples that some of them are in words."""

from __future__ import annotations

import json
from typing import Any

from heflwr.collector.records import LineBatch, Row, SampleBatch
from heflwr.collector.store.database import Connection
from heflwr.collector.store.writing import add_samples, ensure_client

ANCESTOR_RUN = "ancestor"
"""The run of samples that came as words: heflwr 0.1 had neither runs nor sequence numbers."""


def add_lines(writer: Connection, batch: LineBatch, received: float, clients_max: int) -> int:
    """Store lines that are not there yet, and return how many those were.

    Raises:
        Refusal: One identifier too many.
    """
    ensure_client(writer, batch.identifier, clients_max)
    accepted = 0
    for line in batch.lines:
        at = received if line.time is None else line.time
        found = writer.execute(
            "INSERT INTO lines (identifier, run, sequence, time, message, fields, received)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (batch.identifier, batch.run, line.sequence, at, line.message, json.dumps(line.fields), received),
        ).fetchone()
        if found is None:
            continue
        accepted += 1
        if line.values:
            row = Row(found[0], at, tuple(line.values.values()))
            samples = SampleBatch(batch.identifier, ANCESTOR_RUN, tuple(line.values), (row,), {})
            add_samples(writer, samples, received, clients_max)
    return accepted


def lines(reader: Connection, identifier: str | None, since: float, until: float, limit: int) -> list[dict[str, Any]]:
    """Return the newest lines that match, the newest first."""
    of_client, parameters = ("", ()) if identifier is None else ("AND identifier = ?", (identifier,))
    return [
        {"identifier": who, "time": at, "message": message, "fields": json.loads(fields)}
        for who, at, message, fields in reader.execute(
            f"SELECT identifier, time, message, fields FROM lines WHERE time BETWEEN ? AND ? {of_client}"
            " ORDER BY time DESC, id DESC LIMIT ?",
            (since, until, *parameters, limit),
        )
    ]
