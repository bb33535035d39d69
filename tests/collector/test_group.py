"""The writer's thread: outcomes in order once they are on disk, each call's fault its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heflwr.collector.records import Refusal
from heflwr.collector.store import StoreFailed
from heflwr.collector.store.database import Connection
from heflwr.collector.store.group import GroupWriter
from heflwr.collector.store.sqlite import SqliteDatabase


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "group.db")
    database.open()
    yield database
    database.close()


@pytest.fixture
def writer(database: SqliteDatabase) -> Iterator[GroupWriter]:
    writer = GroupWriter(database)
    writer.start()
    yield writer
    writer.stop()


def mark(name: str) -> Any:
    return lambda connection: connection.execute("INSERT INTO marks VALUES (?, 0)", (name,)).rowcount


def marks(database: SqliteDatabase) -> set[str]:
    with database.reading() as reader:
        return {name for (name,) in reader.execute("SELECT name FROM marks")}


def test_an_outcome_comes_when_others_can_read_what_was_written(writer: GroupWriter, database: SqliteDatabase) -> None:
    """In the order of the calls, also when there are more than fit into one transaction."""
    told: queue.SimpleQueue[tuple[int, Any, bool]] = queue.SimpleQueue()
    for number in range(600):
        name = f"m{number}"
        writer.submit(
            mark(name),
            lambda outcome, number=number, name=name: told.put((number, outcome, name in marks(database))),
            rows=1,
        )
    assert [told.get(timeout=60) for _ in range(600)] == [(number, 1, True) for number in range(600)]
    assert 3 <= writer.commits < 600


def test_a_call_that_fails_takes_nobody_with_it(writer: GroupWriter, database: SqliteDatabase) -> None:
    """Its own rows go, those before and after it stay; a refusal arrives as it was, another fault as StoreFailed."""

    def refused(connection: Connection) -> int:
        mark("refused")(connection)
        raise Refusal(400, "x", "not that")

    def wrong(connection: Connection) -> int:
        mark("wrong")(connection)
        raise KeyError("x")

    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for call in (mark("before"), refused, wrong, mark("after")):
        writer.submit(call, told.put)
    outcomes = [told.get(timeout=60) for _ in range(4)]
    assert [type(outcome) for outcome in outcomes] == [int, Refusal, StoreFailed, int]
    assert marks(database) >= {"before", "after"}
    assert not marks(database) & {"refused", "wrong"}
    with pytest.raises(Refusal, match="not that"):
        writer.write(refused)


def test_who_cannot_be_told_stops_nobody(writer: GroupWriter, caplog: pytest.LogCaptureFixture) -> None:
    """A done() that raises is logged; the next call is carried out."""

    def done(outcome: Any) -> None:
        raise RuntimeError("gone")

    with caplog.at_level(logging.ERROR, "heflwr.collector"):
        writer.submit(mark("one"), done)
        assert writer.write(mark("two")) == 1
    assert "cannot be acknowledged" in caplog.text


def test_what_waits_when_it_stops_is_written_and_nothing_is_taken_after(
    writer: GroupWriter, database: SqliteDatabase
) -> None:
    """stop() may come twice, and a stopped writer can start again."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for number in range(40):
        writer.submit(mark(f"m{number}"), told.put)
    writer.stop()
    writer.stop()
    assert [told.get_nowait() for _ in range(40)] == [1] * 40
    with pytest.raises(StoreFailed, match="closed"):
        writer.submit(mark("late"), told.put)
    with pytest.raises(StoreFailed, match="closed"):
        writer.write(mark("late"))
    writer.start()
    assert writer.write(mark("again")) == 1
    assert "late" not in marks(database)


def test_what_waits_is_bounded(writer: GroupWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond, nothing is taken, which its sender hears at once; what was taken is written."""
    monkeypatch.setattr("heflwr.collector.store.group.QUEUE_MAX", 3)
    may_write, has_begun = threading.Event(), threading.Event()
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def slow(connection: Connection) -> bool:
        has_begun.set()
        return may_write.wait(60)

    writer.submit(slow, told.put)
    assert has_begun.wait(60)
    for name in "abc":
        writer.submit(mark(name), told.put)
    with pytest.raises(StoreFailed, match="too many requests wait"):
        writer.submit(mark("d"), told.put)
    may_write.set()
    assert [told.get(timeout=60) for _ in range(4)] == [True, 1, 1, 1]
