"""Named stretches of a run's time: rounds, epochs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from heflwr.collector.records import Refusal, Window
from heflwr.collector.store.database import Connection
from heflwr.collector.store.writing import reported_run

WINDOWS_MAX = 100_000
"""Most windows of one run."""


def add_windows(
    writer: Connection, identifier: str, run: str, windows: Sequence[Window], received: float, clients_max: int
) -> None:
    """Store windows, known by name and start; an end, once known, stays unless another one comes.

    Raises:
        Refusal: One identifier, run, or window of the run, too many.
    """
    run_id, _ = reported_run(writer, identifier, run, received, clients_max)
    for window in windows:
        writer.execute(
            "INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, name, begun) DO UPDATE"
            " SET ended = coalesce(excluded.ended, windows.ended), labels = excluded.labels,"
            " received = excluded.received",
            (run_id, window.name, window.start, window.end, json.dumps(window.labels), received),
        )
    (count,) = writer.execute("SELECT count(*) FROM windows WHERE run_id = ?", (run_id,)).fetchone()
    if count > WINDOWS_MAX:
        raise Refusal(429, "windows", f"a run can have {WINDOWS_MAX} windows; start another run")


def windows(
    reader: Connection, identifier: str | None, run: str | None, since: float, until: float, limit: int
) -> list[dict[str, Any]]:
    """Return the windows that reach into a span of time, the latest to begin first."""
    among = [(column, value) for column, value in (("identifier", identifier), ("run", run)) if value is not None]
    return [
        {"identifier": who, "run": which, "name": name, "start": start, "end": end, "labels": json.loads(labels)}
        for who, which, name, start, end, labels in reader.execute(
            "SELECT identifier, run, name, begun, ended, labels FROM windows JOIN runs ON runs.id = run_id"
            " JOIN clients ON clients.id = client"
            f" WHERE begun <= ? AND coalesce(ended, begun) >= ? {''.join(f' AND {name} = ?' for name, _ in among)}"
            " ORDER BY begun DESC, name LIMIT ?",
            (until, since, *(value for _, value in among), limit),
        )
    ]
