"""How what is older than it should be goes: samples, what was told beside them, whole runs, clients with nothing left.

What is deleted in one transaction is limited, since writers wait for it. Which runs, functions and clients go is found
by a reader, and looked at once more by the writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heflwr.collector.store.database import Connection
from heflwr.collector.store.functions import FUNCTIONS_KEPT
from heflwr.collector.store.rolling import mark
from heflwr.collector.store.rollups import LEVELS
from heflwr.collector.store.writing import RUNS_KEPT

CHUNKS_AT_ONCE = 500
ROWS_AT_ONCE = 2_000
"""Chunks or log lines, and rows of any other kind, that one transaction deletes: writers wait for some hundredths of a
second."""


def forget_raw(writer: Connection, before: float, rolled: int) -> int:
    """Delete the oldest chunks if they came before a moment; return how many. Duplicates of them stay duplicates."""
    oldest: list[Any] = writer.execute(
        "SELECT id, run_id, last_sequence, received FROM chunks WHERE id <= ? ORDER BY id LIMIT ?",
        (rolled, CHUNKS_AT_ONCE),
    ).fetchall()
    gone = [row for row in oldest if row[3] < before]
    last: dict[int, int] = {}
    for number, run_id, last_sequence, _ in gone:
        writer.execute("DELETE FROM chunks WHERE id = ?", (number,))
        last[run_id] = max(last.get(run_id, -1), last_sequence)
    for run_id, sequence in last.items():
        writer.execute(
            "UPDATE runs SET forgotten_sequence = ? WHERE id = ? AND forgotten_sequence < ?",
            (sequence, run_id, sequence),
        )
    return len(gone)


def old_minutes(reader: Connection, before: float) -> list[tuple[int, int]]:
    """Return the runs that have one-minute buckets from before a moment, and the first bucket that stays.

    Args:
        reader: Where to look: the database does, since a fleet has millions of runs.
        before: Unix seconds by the collector's clock; how far a run's own is off, its last batch tells.
    """
    return [
        (run_id, int(moment // LEVELS[0]))
        for run_id, moment in reader.execute(
            "SELECT id, moment FROM (SELECT id, last - received + ? AS moment FROM runs) AS known WHERE"
            " (SELECT (min(bucket) + 1) * ? FROM rollups WHERE run_id = known.id AND level = ?) <= moment",
            (before, LEVELS[0], LEVELS[0]),
        ).fetchall()
    ]


def forget_minutes(writer: Connection, old: Sequence[tuple[int, int]]) -> int:
    """Delete one-minute buckets; return with how many of the runs that is done."""
    left = ROWS_AT_ONCE
    for done, (run_id, bucket) in enumerate(old):
        left -= writer.execute(
            "DELETE FROM rollups WHERE (run_id, level, bucket, columns_id) IN (SELECT run_id, level, bucket, columns_id"
            " FROM rollups WHERE run_id = ? AND level = ? AND bucket < ? LIMIT ?)",
            (run_id, LEVELS[0], bucket, left),
        ).rowcount
        if left <= 0:
            return done
    return len(old)


def forget_lines(writer: Connection, before: float) -> int:
    """Delete the oldest log lines if they came before a moment; return how many."""
    oldest = writer.execute("SELECT id, received FROM lines ORDER BY id LIMIT ?", (CHUNKS_AT_ONCE,)).fetchall()
    gone = [number for number, received in oldest if received < before]
    for number in gone:
        writer.execute("DELETE FROM lines WHERE id = ?", (number,))
    return len(gone)


def forget_told(writer: Connection, before: float) -> int:
    """Delete the oldest windows, and points of functions, if they came before a moment; return how many."""
    windows = writer.execute(
        "DELETE FROM windows WHERE (run_id, name, begun) IN"
        " (SELECT run_id, name, begun FROM windows WHERE received < ? ORDER BY received LIMIT ?)",
        (before, ROWS_AT_ONCE),
    ).rowcount
    points = writer.execute(
        "DELETE FROM function_points WHERE (function_id, sequence) IN"
        " (SELECT function_id, sequence FROM function_points WHERE received < ? ORDER BY received LIMIT ?)",
        (before, ROWS_AT_ONCE),
    ).rowcount
    if points:
        writer.execute(
            "DELETE FROM functions WHERE NOT EXISTS (SELECT 1 FROM function_points WHERE function_id = functions.id)"
        )
    return windows + points


def silent_runs(reader: Connection, before: float) -> list[int]:
    """Return the runs that were last heard of before a moment."""
    return _numbers(reader.execute("SELECT id FROM runs WHERE received < ? ORDER BY id", (before,)))


def surplus_runs(reader: Connection) -> list[int]:
    """Return the runs that clients have beyond RUNS_KEPT, those that were heard of least lately."""
    found: list[int] = []
    for client, count in reader.execute("SELECT id, runs FROM clients WHERE runs > ?", (RUNS_KEPT,)).fetchall():
        found += _numbers(
            reader.execute(
                "SELECT id FROM runs WHERE client = ? ORDER BY received, id LIMIT ?", (client, count - RUNS_KEPT)
            )
        )
    return found


def surplus_functions(reader: Connection) -> list[int]:
    """Return the functions that clients have beyond FUNCTIONS_KEPT, those whose runs were heard of least lately."""
    found: list[int] = []
    for client, count in reader.execute(
        "SELECT client, count(*) FROM functions GROUP BY client HAVING count(*) > ?", (FUNCTIONS_KEPT,)
    ).fetchall():
        found += _numbers(
            reader.execute(
                "SELECT functions.id FROM functions JOIN runs ON runs.id = run_id WHERE functions.client = ?"
                " ORDER BY received, functions.id LIMIT ?",
                (client, count - FUNCTIONS_KEPT),
            )
        )
    return found


_OF_A_RUN = (
    "DELETE FROM function_points WHERE (function_id, sequence) IN (SELECT function_id, sequence FROM function_points"
    " JOIN functions ON functions.id = function_id WHERE run_id = ? LIMIT ?)",
    "DELETE FROM functions WHERE id IN (SELECT id FROM functions WHERE run_id = ? LIMIT ?)",
    "DELETE FROM windows WHERE (run_id, name, begun) IN"
    " (SELECT run_id, name, begun FROM windows WHERE run_id = ? LIMIT ?)",
    "DELETE FROM rollups WHERE (run_id, level, bucket, columns_id) IN"
    " (SELECT run_id, level, bucket, columns_id FROM rollups WHERE run_id = ? LIMIT ?)",
    "DELETE FROM chunks WHERE id IN (SELECT id FROM chunks WHERE run_id = ? LIMIT ?)",
)
"""What goes with a run, in an order in which nothing is left that refers to what is gone."""

_OF_A_FUNCTION = (
    "DELETE FROM function_points WHERE (function_id, sequence) IN"
    " (SELECT function_id, sequence FROM function_points WHERE function_id = ? LIMIT ?)",
)


def forget_runs(writer: Connection, numbers: Sequence[int], before: float) -> int:
    """Delete runs with all that is of them; return with how many of them that is done.

    A run stays if it has been heard of since `before`, or has chunks that are not rolled up: whoever is about to write
    their sums finds the run there.
    """
    rolled, left = mark(writer, "rolled"), ROWS_AT_ONCE
    for done, number in enumerate(numbers):
        found = writer.execute(
            "SELECT client FROM runs WHERE id = ? AND received < ?"
            " AND NOT EXISTS (SELECT 1 FROM chunks WHERE run_id = runs.id AND id > ?)",
            (number, before, rolled),
        ).fetchone()
        if found is None:
            continue
        left = _delete(writer, _OF_A_RUN, number, left)
        if left <= 0:
            return done
        writer.execute("DELETE FROM runs WHERE id = ?", (number,))
        writer.execute("UPDATE clients SET runs = runs - 1 WHERE id = ?", (found[0],))
        writer.execute(
            "UPDATE clients SET newest_run ="
            " (SELECT id FROM runs WHERE client = clients.id AND samples > 0 ORDER BY last DESC, id DESC LIMIT 1)"
            " WHERE id = ? AND newest_run = ?",
            (found[0], number),
        )
    return len(numbers)


def forget_functions(writer: Connection, numbers: Sequence[int]) -> int:
    """Delete functions with their points; return with how many of them that is done."""
    left = ROWS_AT_ONCE
    for done, number in enumerate(numbers):
        left = _delete(writer, _OF_A_FUNCTION, number, left)
        if left <= 0:
            return done
        writer.execute("DELETE FROM functions WHERE id = ?", (number,))
    return len(numbers)


def _delete(writer: Connection, statements: Sequence[str], number: int, left: int) -> int:
    """Delete at most so many rows of something; return how many more might be."""
    for statement in statements:
        if left > 0:
            left -= writer.execute(statement, (number, left)).rowcount
    return left


_HAS_NOTHING = "runs = 0 AND NOT EXISTS (SELECT 1 FROM lines WHERE lines.identifier = clients.identifier)"


def empty_clients(reader: Connection) -> list[int]:
    """Return the clients that have neither a run nor a log line left."""
    return _numbers(reader.execute(f"SELECT id FROM clients WHERE {_HAS_NOTHING}"))


def forget_clients(writer: Connection, numbers: Sequence[int]) -> int:
    """Delete clients that have nothing left: their places are free for others, their tokens stay."""
    for number in numbers[:ROWS_AT_ONCE]:
        writer.execute(f"DELETE FROM clients WHERE id = ? AND {_HAS_NOTHING}", (number,))
    return min(len(numbers), ROWS_AT_ONCE)


def _numbers(found: Any) -> list[int]:
    return [number for (number,) in found.fetchall()]
