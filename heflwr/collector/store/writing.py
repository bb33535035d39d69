"""How samples get into the tables: who sent them, which are new, one chunk a batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heflwr.collector.records import Refusal, Row, SampleBatch
from heflwr.collector.store.chunks import Chunk, from_rows, pack, unpack
from heflwr.collector.store.database import Connection

RUNS_KEPT = 10_000
"""Runs of one client that stay, those that were heard of last: a week of a monitor that is started every minute, or of
a Flower node, each of whose calls is a run."""

RUNS_MAX = 12_000
"""Most runs of one client at any time. What is more than is kept goes within seconds: to be refused, a client must
begin a hundred runs a second."""

AGAIN_SECONDS = 30.0
"""When a sender is told to come again that has too much for now: the keeper has been there by then."""

OVERLAPS_MAX = 2_000
"""Most chunks that a batch may overlap with: 20 ms of the writer's time. A sender that comes again with all that it has
sends at most ten thousand rows at once; batches that each span the whole run are no monitor's."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What the tables know of a run before a batch comes."""

    id: int
    client: int
    samples: int
    first: float
    last: float
    last_sequence: int
    forgotten_sequence: int
    about: str
    newest_run: int | None


def add_samples(writer: Connection, batch: SampleBatch, received: float, clients_max: int) -> int:
    """Store the samples that are not there yet, and return how many those were.

    Raises:
        Refusal: One identifier, or one run, too many.
    """
    state = _state(writer, batch.identifier, batch.run, received, clients_max)
    rows = _new(writer, state, batch.rows)
    about = json.dumps(batch.about) if batch.about else state.about
    if not rows:
        writer.execute("UPDATE runs SET received = ?, about = ? WHERE id = ?", (received, about, state.id))
        return 0
    chunk = from_rows(rows)
    add_chunk(writer, state.id, columns_id(writer, batch.metrics), chunk, received)
    first, last = min(chunk.times), max(chunk.times)
    if state.samples:
        first, last = min(first, state.first), max(last, state.last)
    writer.execute(
        "UPDATE runs SET samples = samples + ?, first = ?, last = ?, received = ?, last_sequence = ?, about = ?"
        " WHERE id = ?",
        (len(rows), first, last, received, max(state.last_sequence, chunk.sequences[-1]), about, state.id),
    )
    if state.newest_run != state.id:
        _settle_newest(writer, state, last)
    return len(rows)


def add_chunk(writer: Connection, run_id: int, columns: int, chunk: Chunk, received: float) -> None:
    """Store rows, none of which is there yet; their rollups come later."""
    writer.execute(
        "INSERT INTO chunks (run_id, columns_id, first_sequence, last_sequence, first_time, last_time, received,"
        " samples, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (run_id, columns, *bounds(chunk), received, len(chunk.times), pack(chunk)),
    )


def bounds(chunk: Chunk) -> tuple[int, int, float, float]:
    """Return first and last sequence, first and last time."""
    return chunk.sequences[0], chunk.sequences[-1], min(chunk.times), max(chunk.times)


def columns_id(writer: Connection, metrics: Sequence[str]) -> int:
    """Return the number of a list of metrics."""
    names = json.dumps(metrics)
    found = writer.execute("SELECT id FROM columns WHERE names = ?", (names,)).fetchone()
    if found is None:
        found = writer.execute("INSERT INTO columns (names) VALUES (?) RETURNING id", (names,)).fetchone()
    return int(found[0])


def _state(writer: Connection, identifier: str, run: str, received: float, clients_max: int) -> RunState:
    found = writer.execute(
        "SELECT runs.id, clients.id, samples, first, last, last_sequence, forgotten_sequence, about, newest_run,"
        " clients.runs"
        " FROM clients LEFT JOIN runs ON runs.client = clients.id AND runs.run = ? WHERE identifier = ?",
        (run, identifier),
    ).fetchone()
    if found is None:
        client = _new_client(writer, identifier, clients_max)
        runs = 0
    elif found[0] is None:
        client, runs = found[1], found[9]
    else:
        return RunState(*found[:9])
    if runs >= RUNS_MAX:
        raise Refusal(429, "runs", f"{identifier!r} has {runs} runs; come again when old ones have gone", AGAIN_SECONDS)
    (run_id,) = writer.execute(
        "INSERT INTO runs (client, run, first, last, received) VALUES (?, ?, ?, ?, ?) RETURNING id",
        (client, run, 0.0, 0.0, received),
    ).fetchone()
    writer.execute("UPDATE clients SET runs = runs + 1 WHERE id = ?", (client,))
    return RunState(run_id, client, 0, 0.0, 0.0, -1, -1, "{}", None if found is None else found[8])


def reported_run(writer: Connection, identifier: str, run: str, received: float, clients_max: int) -> tuple[int, int]:
    """Return the number of a run, and its client's, for what is told beside samples; it may not have sent any.

    Raises:
        Refusal: One identifier, or one run, too many.
    """
    state = _state(writer, identifier, run, received, clients_max)
    writer.execute("UPDATE runs SET received = ? WHERE id = ?", (received, state.id))
    return state.id, state.client


def ensure_client(writer: Connection, identifier: str, clients_max: int) -> None:
    """Count an identifier that may not have sent samples yet.

    Raises:
        Refusal: It is one too many.
    """
    if writer.execute("SELECT id FROM clients WHERE identifier = ?", (identifier,)).fetchone() is None:
        _new_client(writer, identifier, clients_max)


def _new_client(writer: Connection, identifier: str, clients_max: int) -> int:
    (count,) = writer.execute("SELECT count(*) FROM clients").fetchone()
    if count >= clients_max:
        raise Refusal(
            429, "identifiers", f"this collector takes {clients_max} identifiers and knows them all; raise --clients"
        )
    (client,) = writer.execute("INSERT INTO clients (identifier) VALUES (?) RETURNING id", (identifier,)).fetchone()
    return int(client)


def _settle_newest(writer: Connection, state: RunState, last: float) -> None:
    """Make this run its client's newest if its samples are later than those of the one that was."""
    if state.newest_run is not None:
        (newest_last,) = writer.execute("SELECT last FROM runs WHERE id = ?", (state.newest_run,)).fetchone()
        if last < newest_last:
            return
    writer.execute("UPDATE clients SET newest_run = ? WHERE id = ?", (state.id, state.client))


def _new(writer: Connection, state: RunState, rows: Sequence[Row]) -> list[Row]:
    """Return the rows whose sequence is not stored, and was not before it was forgotten; the first of equal ones."""
    distinct: dict[int, Row] = {}
    for row in rows:
        distinct.setdefault(row.sequence, row)
    if min(distinct) > state.last_sequence:
        return list(distinct.values())
    known = _known(writer, state.id, min(distinct), max(distinct))
    return [row for row in distinct.values() if row.sequence > state.forgotten_sequence and row.sequence not in known]


def _known(writer: Connection, run_id: int, first: int, last: int) -> set[int]:
    """Return the sequences that are stored, of those chunks that reach into a range.

    Raises:
        Refusal: These are so many that looking through them would hold up everybody.
    """
    overlapping: Any = writer.execute(
        "SELECT data FROM chunks WHERE run_id = ? AND last_sequence >= ? AND first_sequence <= ? LIMIT ?",
        (run_id, first, last, OVERLAPS_MAX + 1),
    ).fetchall()
    if len(overlapping) > OVERLAPS_MAX:
        raise Refusal(429, "overlap", "these rows overlap with too many batches; send rows in order, or later", 600.0)
    return {sequence for (data,) in overlapping for sequence in unpack(data).sequences}
