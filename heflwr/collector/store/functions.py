"""Monitored functions: what a coordinator knows of the fleet's state, point by point."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from heflwr.collector.records import FunctionBatch, FunctionPoint, Refusal
from heflwr.collector.store.database import Connection

FUNCTIONS_MAX = 1_000
"""Most functions, of all coordinators and runs."""

_POINT = ("time", "round", "value", "bound", "truth", "live", "stale", "lost", "messages", "centralization")


def add_functions(writer: Connection, batch: FunctionBatch) -> int:
    """Store points that are not there yet, and return how many those were.

    Raises:
        Refusal: One function too many.
    """
    accepted = 0
    for point in batch.points:
        function_id = _function_id(writer, batch, point)
        accepted += writer.execute(
            "INSERT INTO function_points VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (function_id, *astuple(point)[4:]),
        ).rowcount
    return accepted


def _function_id(writer: Connection, batch: FunctionBatch, point: FunctionPoint) -> int:
    found = writer.execute(
        "SELECT id, unit, guarantee, reason, last_sequence FROM functions"
        " WHERE identifier = ? AND run = ? AND name = ?",
        (batch.identifier, batch.run, point.name),
    ).fetchone()
    said = (point.unit, point.guarantee, point.reason)
    if found is None:
        (count,) = writer.execute("SELECT count(*) FROM functions").fetchone()
        if count >= FUNCTIONS_MAX:
            raise Refusal(429, "functions", f"this collector keeps {FUNCTIONS_MAX} functions and has them all")
        found = writer.execute(
            "INSERT INTO functions (identifier, run, name, unit, guarantee, reason, last_sequence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (batch.identifier, batch.run, point.name, *said, point.sequence),
        ).fetchone()
    elif point.sequence > found[4]:
        writer.execute(
            "UPDATE functions SET unit = ?, guarantee = ?, reason = ?, last_sequence = ? WHERE id = ?",
            (*said, point.sequence, found[0]),
        )
    return int(found[0])


def functions(reader: Connection) -> list[dict[str, Any]]:
    """Return every function with its latest point, the latest first."""
    found = reader.execute(
        f"SELECT identifier, run, name, unit, guarantee, reason, {', '.join(_POINT)} FROM functions"
        " JOIN function_points ON function_id = functions.id AND sequence = last_sequence ORDER BY time DESC, name"
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
        " WHERE identifier = ? AND run = ? AND name = ? AND time BETWEEN ? AND ? ORDER BY sequence DESC LIMIT ?",
        (identifier, run, name, since, until, limit),
    )
    return [dict(zip(_POINT, row, strict=True)) for row in found]
