"""Monitored functions: what a coordinator knows of the fleet's state, point by point."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from heflwr.collector.records import FunctionBatch, FunctionPoint, Refusal
from heflwr.collector.store.database import Connection
from heflwr.collector.store.writing import AGAIN_SECONDS, reported_run

FUNCTIONS_KEPT = 1_000
"""Functions of one identifier that stay, those of the runs that were heard of last."""

FUNCTIONS_MAX = 2_000
"""Most of one identifier at any time; what is more than is kept goes within seconds."""

_POINT = ("time", "round", "value", "bound", "truth", "live", "stale", "lost", "messages", "centralization")


def add_functions(writer: Connection, batch: FunctionBatch, received: float, clients_max: int) -> int:
    """Store points that are not there yet, and return how many those were.

    Raises:
        Refusal: One identifier, run, or function of the identifier, too many.
    """
    run_id, client = reported_run(writer, batch.identifier, batch.run, received, clients_max)
    accepted = 0
    for point in batch.points:
        function_id = _function_id(writer, client, run_id, point)
        accepted += writer.execute(
            "INSERT INTO function_points VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (function_id, *astuple(point)[4:], received),
        ).rowcount
    return accepted


def _function_id(writer: Connection, client: int, run_id: int, point: FunctionPoint) -> int:
    found = writer.execute(
        "SELECT id, last_sequence FROM functions WHERE run_id = ? AND name = ?", (run_id, point.name)
    ).fetchone()
    said = (point.unit, point.guarantee, point.reason)
    if found is None:
        (count,) = writer.execute("SELECT count(*) FROM functions WHERE client = ?", (client,)).fetchone()
        if count >= FUNCTIONS_MAX:
            raise Refusal(
                429,
                "functions",
                f"this identifier has {count} functions; come again when some have gone",
                AGAIN_SECONDS,
            )
        found = writer.execute(
            "INSERT INTO functions (client, run_id, name, unit, guarantee, reason, last_sequence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (client, run_id, point.name, *said, point.sequence),
        ).fetchone()
    elif point.sequence > found[1]:
        writer.execute(
            "UPDATE functions SET unit = ?, guarantee = ?, reason = ?, last_sequence = ? WHERE id = ?",
            (*said, point.sequence, found[0]),
        )
    return int(found[0])


def functions(reader: Connection) -> list[dict[str, Any]]:
    """Return every function with its latest point, the latest first."""
    found = reader.execute(
        f"SELECT identifier, run, name, unit, guarantee, reason, {', '.join(_POINT)} FROM functions"
        " JOIN function_points ON function_id = functions.id AND sequence = functions.last_sequence"
        " JOIN runs ON runs.id = run_id JOIN clients ON clients.id = functions.client ORDER BY time DESC, name"
    )
    names = ("identifier", "run", "name", "unit", "guarantee", "reason")
    return [
        {**dict(zip(names, row[:6], strict=True)), "latest": dict(zip(_POINT, row[6:], strict=True))} for row in found
    ]


def points(
    reader: Connection, identifier: str, run: str, name: str, since: float, until: float, limit: int
) -> list[dict[str, Any]]:
    """Return the newest points of a function, the newest first."""
    found = reader.execute(
        f"SELECT {', '.join(_POINT)} FROM function_points JOIN functions ON functions.id = function_id"
        " JOIN runs ON runs.id = run_id JOIN clients ON clients.id = functions.client"
        " WHERE identifier = ? AND run = ? AND name = ? AND time BETWEEN ? AND ? ORDER BY sequence DESC LIMIT ?",
        (identifier, run, name, since, until, limit),
    )
    return [dict(zip(_POINT, row, strict=True)) for row in found]
