"""What goes with time, and what goes so that one client cannot fill the store; on both databases."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from heflwr.collector import Store
from heflwr.collector.records import FunctionBatch, FunctionPoint, Line, LineBatch, Refusal, Row, SampleBatch, Window
from heflwr.collector.store import forgetting, functions, reading, windows, writing
from heflwr.collector.store import functions as stored_functions

T0 = 1_700_000_040.0

OF_A_RUN = ("chunks", "rollups", "windows", "functions", "function_points", "runs")


def samples(identifier: str, run: str, count: int = 3, at: float = T0) -> SampleBatch:
    rows = tuple(Row(sequence, at + sequence, (1.0,)) for sequence in range(count))
    return SampleBatch(identifier, run, ("threads",), rows, {}, (Window("round 1", at, None, {}),))


def points(identifier: str, run: str, *names: str) -> FunctionBatch:
    none = (None,) * 9
    return FunctionBatch(identifier, run, tuple(FunctionPoint(name, "", "", "", 0, T0, *none) for name in names))


def counts(store: Store, *tables: str) -> dict[str, int]:
    with store.reading() as reader:
        return {table: reader.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def fill(store: Store, identifier: str, run: str) -> None:
    store.add_samples(samples(identifier, run))
    store.add_functions(points(identifier, run, "f", "g"))
    store.roll()


def test_a_run_that_is_not_heard_of_goes_with_all_that_is_of_it(place: Any) -> None:
    """Samples, sums, windows, functions and points; what is heard of stays, and so does its client."""
    with Store(place) as store:
        for run in ("old", "new"):
            fill(store, "a", run)
        store.writer.write(lambda writer: writer.execute("UPDATE runs SET received = received - 9e7 WHERE run = 'old'"))
        before = counts(store, *OF_A_RUN)
        store.compact()
        assert counts(store, *OF_A_RUN) == {table: count // 2 for table, count in before.items()}
        with store.reading() as reader:
            (client,) = reading.clients(reader, 10)
            assert (client["runs"], client["samples"]) == (1, 3)
            assert [run.run for run in reading.newest_runs(reader, [], 10)] == ["new"]
            assert [window["run"] for window in windows.windows(reader, None, None, 0.0, 1e10, 10)] == ["new"]
            assert {function["run"] for function in functions.functions(reader)} == {"new"}


def test_a_large_run_goes_a_little_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers never wait for all of it; what is heard of meanwhile stays."""
    monkeypatch.setattr(forgetting, "ROWS_AT_ONCE", 5)
    for run in ("one", "two"):
        rows = tuple(Row(at, T0 + 60 * at, (1.0,)) for at in range(12))
        store.add_samples(SampleBatch("a", run, ("threads",), rows, {}))
        store.add_functions(points("a", run, *"fghijk"))
    store.roll()
    with store.reading() as reader:
        numbers = [run.id for run in reading.runs(reader)]
    now = time.time() + 1
    done = [store.writer.write(lambda writer: forgetting.forget_runs(writer, numbers, now)) for _ in range(3)]
    assert done == [0, 0, 0]
    assert counts(store, "runs") == {"runs": 2}
    while store.writer.write(lambda writer: forgetting.forget_runs(writer, numbers, now)) < len(numbers):
        pass
    assert counts(store, *OF_A_RUN) == dict.fromkeys(OF_A_RUN, 0)


def test_a_client_with_nothing_left_makes_room_for_another(place: Any) -> None:
    """Its token stays worth what it was; a log line is something."""
    with Store(place, clients_max=2, run_days=1e-9, raw_days=1.0) as store:
        store.add_token("gone", "write")
        store.add_samples(samples("gone", "r"))
        store.add_lines(LineBatch("logs", None, (Line("x"),)))
        with pytest.raises(Refusal, match="takes 2 identifiers"):
            store.add_samples(samples("next", "r"))
        time.sleep(0.01)
        store.compact()
        assert counts(store, "clients", "tokens", *OF_A_RUN) == {
            "clients": 1,
            "tokens": 1,
            **dict.fromkeys(OF_A_RUN, 0),
        }
        assert store.add_samples(samples("next", "r")) == 3


def test_windows_and_points_go_after_their_days_by_when_they_came(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sender's clock says, and however many there are; the run's sums stay."""
    monkeypatch.setattr(forgetting, "ROWS_AT_ONCE", 10)
    with Store(place, minute_days=1e-9) as store:
        many = tuple(Window(f"step {at}", 2e9 + at, None, {}) for at in range(25))
        store.add_samples(SampleBatch("a", "r", (), (), {}, many), samples("a", "r"))
        store.add_functions(points("a", "r", "f"))
        time.sleep(0.01)
        store.compact()
        assert counts(store, "windows", "function_points", "functions", "runs") == {
            "windows": 0,
            "function_points": 0,
            "functions": 0,
            "runs": 1,
        }
        with store.reading() as reader:
            (run,) = reading.runs(reader)
            assert sum(rollup.counts[0] for _, _, rollup in reading.buckets_of(reader, run.id, 14_400, 0, 1 << 40)) == 3


def test_a_node_that_begins_runs_for_ever_is_never_locked_out(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its oldest runs make room; whoever begins too many at once is told when to come again; others are unconcerned."""
    monkeypatch.setattr(forgetting, "RUNS_KEPT", 2)
    monkeypatch.setattr(writing, "RUNS_MAX", 4)
    with Store(place) as store:
        fill(store, "other", "theirs")
        for call in range(0, 6, 2):
            store.add_samples(*(samples("node", f"call{call + more}", at=T0 + call + more) for more in range(2)))
            store.compact()
        with store.reading() as reader:
            assert sorted(run.run for run in reading.runs(reader, ["node"])) == ["call4", "call5"]
            assert [run.run for run in reading.newest_runs(reader, ["node"], 9)] == ["call5"]
            assert [run.run for run in reading.runs(reader, ["other"])] == ["theirs"]
        assert counts(store, "windows", "runs") == {"windows": 3, "runs": 3}
        store.add_samples(samples("node", "call6"), samples("node", "call7"))
        window = (Window("w", 1.0, None, {}),)
        for refused in (samples("node", "more"), SampleBatch("node", "more", (), (), {}, window)):
            with pytest.raises(Refusal, match="come again when old ones have gone") as caught:
                store.add_samples(refused)
            assert (caught.value.status, caught.value.wait) == (429, writing.AGAIN_SECONDS)
        assert store.add_samples(samples("other", "r")) == 3
        store.compact()
        assert store.add_samples(samples("node", "more")) == 3


def test_a_run_is_not_forgotten_before_it_is_summed_up(place: Any) -> None:
    """Another process may be about to write the sums of its last samples."""
    with Store(place) as store:
        fill(store, "a", "r")
        rows = (Row(3, T0 + 3, (1.0,)),)
        store.add_samples(SampleBatch("a", "r", ("threads",), rows, {}))
        with store.reading() as reader:
            (run,) = reading.runs(reader)
        store.writer.write(lambda writer: forgetting.forget_runs(writer, [run.id], 1e10))
        assert counts(store, "runs") == {"runs": 1}
        store.roll()
        store.writer.write(lambda writer: forgetting.forget_runs(writer, [run.id], 1e10))
        assert counts(store, *OF_A_RUN) == dict.fromkeys(OF_A_RUN, 0)


def test_one_coordinator_cannot_use_up_the_functions_of_another(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is each identifier's own; those of the runs that were heard of last stay."""
    monkeypatch.setattr(forgetting, "FUNCTIONS_KEPT", 2)
    monkeypatch.setattr(stored_functions, "FUNCTIONS_MAX", 4)
    with Store(place) as store:
        store.add_functions(points("greedy", "first", "f1", "f2"))
        store.add_functions(points("greedy", "second", "f1", "f2"))
        with pytest.raises(Refusal, match="4 functions") as caught:
            store.add_functions(points("greedy", "third", "f1"))
        assert (caught.value.status, caught.value.wait) == (429, writing.AGAIN_SECONDS)
        assert store.add_functions(points("modest", "r", "f1")) == 1
        assert store.add_functions(points("greedy", "first", "f1", "f2")) == 0  # heard of again
        store.compact()
        with store.reading() as reader:
            found = {(function["identifier"], function["run"]) for function in functions.functions(reader)}
        assert found == {("greedy", "first"), ("modest", "r")}
        assert store.add_functions(points("greedy", "third", "f1")) == 1


def test_what_tells_no_samples_is_no_client_of_the_fleet(store: Store) -> None:
    """A coordinator's functions, and windows that came first, are in no list of samples; they count as identifiers."""
    store.add_functions(points("server", "x", "f"))
    store.add_samples(SampleBatch("a", "early", (), (), {}, (Window("w", T0, None, {}),)))
    with store.reading() as reader:
        assert (reading.clients(reader, 10), reading.runs(reader), reading.newest_runs(reader, [], 10)) == ([], [], [])
    store.add_samples(samples("a", "r"))
    with store.reading() as reader:
        assert [(client["identifier"], client["runs"]) for client in reading.clients(reader, 10)] == [("a", 1)]
    assert counts(store, "clients") == {"clients": 2}


SECOND_SCHEMA = """
DROP TABLE function_points;
DROP TABLE functions;
DROP TABLE windows;
CREATE TABLE windows (
    identifier TEXT NOT NULL, run TEXT NOT NULL, name TEXT NOT NULL, begun DOUBLE PRECISION NOT NULL,
    ended DOUBLE PRECISION, labels TEXT NOT NULL, PRIMARY KEY (identifier, run, name, begun)
);
CREATE TABLE functions (
    id {id}, identifier TEXT NOT NULL, run TEXT NOT NULL, name TEXT NOT NULL, unit TEXT NOT NULL,
    guarantee TEXT NOT NULL, reason TEXT NOT NULL, last_sequence BIGINT NOT NULL, UNIQUE (identifier, run, name)
);
CREATE TABLE function_points (
    function_id BIGINT NOT NULL REFERENCES functions, sequence BIGINT NOT NULL, time DOUBLE PRECISION NOT NULL,
    round BIGINT, value DOUBLE PRECISION, bound DOUBLE PRECISION, truth DOUBLE PRECISION, live BIGINT, stale BIGINT,
    lost BIGINT, messages BIGINT, centralization BIGINT, PRIMARY KEY (function_id, sequence)
);
INSERT INTO windows VALUES ('a', 'r', 'with samples', 5.0, 6.0, '{{}}'), ('b', 'r', 'alone', 7.0, NULL, '{{"k": "v"}}');
INSERT INTO functions (identifier, run, name, unit, guarantee, reason, last_sequence)
VALUES ('server', 'x', 'f', '%', 'proved', 'why', 1), ('a', 'r', 'f', '', '', '', 0);
INSERT INTO function_points SELECT id, 0, 8.0, 1, 2.0, NULL, NULL, 3, 0, 0, 4, 5 FROM functions;
INSERT INTO function_points SELECT id, 1, 9.0, 2, 3.0, NULL, NULL, 3, 0, 0, 4, 5 FROM functions WHERE last_sequence = 1
"""
"""The tables that the second schema had otherwise, and something in them."""


def make_second(place: Any) -> None:
    """Turn a database of this version into one of the second schema."""
    if isinstance(place, Path):
        connection = sqlite3.connect(place)
        connection.executescript(SECOND_SCHEMA.format(id="INTEGER PRIMARY KEY AUTOINCREMENT"))
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
        connection.close()
        return
    import psycopg

    with psycopg.connect(place) as connection:
        connection.execute("SET search_path TO heflwr")
        for statement in SECOND_SCHEMA.format(id="BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY").split(";"):
            connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = 2")


def test_everything_of_the_second_schema_is_there(place: Any) -> None:
    """Windows and functions have become a run's, also where there were no samples; nothing is forgotten at once."""
    with Store(place) as store:
        store.add_samples(SampleBatch("a", "r", ("threads",), (Row(0, T0, (1.0,)),), {}))
    make_second(place)
    for _ in range(2):
        with Store(place) as store:
            store.compact()
            with store.reading() as reader:
                found = windows.windows(reader, None, None, 0.0, 1e10, 10)
                known = functions.functions(reader)
                of_server = functions.points(reader, "server", "x", "f", 0.0, 1e10, 10)
                assert [run.run for run in reading.runs(reader)] == ["r"]
            assert [(window["identifier"], window["name"]) for window in found] == [
                ("b", "alone"),
                ("a", "with samples"),
            ]
            assert found[0]["labels"] == {"k": "v"}
            assert [(one["identifier"], one["latest"]["value"]) for one in known] == [("server", 3), ("a", 2)]
            assert [point["value"] for point in of_server] == [3, 2]
            assert counts(store, "clients", "runs") == {"clients": 3, "runs": 3}
    with Store(place) as store:
        assert store.add_functions(points("server", "x", "f", "g")) == 1
