"""A database of the first schema goes on where it was."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from heflwr.collector import Store
from heflwr.collector.records import Row, SampleBatch
from heflwr.collector.series import summaries
from heflwr.collector.store import reading

FIRST_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, identifier TEXT NOT NULL, run TEXT NOT NULL, about TEXT NOT NULL DEFAULT '{}',
    samples INTEGER NOT NULL DEFAULT 0, first REAL NOT NULL, last REAL NOT NULL, received REAL NOT NULL,
    UNIQUE (identifier, run)
);
CREATE TABLE columns (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE);
CREATE TABLE samples (
    run_id INTEGER NOT NULL REFERENCES runs, sequence INTEGER NOT NULL, time REAL NOT NULL,
    columns_id INTEGER NOT NULL REFERENCES columns, row_values TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence)
) WITHOUT ROWID;
CREATE INDEX samples_by_time ON samples (time);
CREATE INDEX samples_by_run_and_time ON samples (run_id, time);
CREATE TABLE lines (
    id INTEGER PRIMARY KEY, identifier TEXT NOT NULL, run TEXT, sequence INTEGER, time REAL NOT NULL,
    message TEXT NOT NULL, fields TEXT NOT NULL, UNIQUE (identifier, run, sequence)
);
CREATE INDEX lines_by_time ON lines (time);
PRAGMA application_id = 1212566615;
PRAGMA user_version = 1;
"""


def test_everything_of_the_first_schema_is_there(tmp_path: Path) -> None:
    """Samples of several metrics, runs, lines; duplicates are still known; opened twice it stays the same."""
    path = tmp_path / "heflwr.db"
    old = sqlite3.connect(path)
    old.executescript(FIRST_SCHEMA)
    old.execute("INSERT INTO runs VALUES (7, 'a', 'r1', '{\"host\": \"h\"}', 1500, 1000, 2499, 3000)")
    old.execute("INSERT INTO runs VALUES (8, 'a', 'r2', '{}', 1, 5000, 5000, 6000)")
    old.execute('INSERT INTO columns VALUES (3, \'["cpu_usage"]\'), (4, \'["cpu_usage", "threads"]\')')
    rows = [
        (7, at, 1000.0 + at, 3 if at < 1000 else 4, json.dumps([at] if at < 1000 else [at, None])) for at in range(1500)
    ]
    old.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", [*rows, (8, 0, 5000.0, 4, "[1.5, 2]")])
    old.execute("INSERT INTO lines VALUES (9, 'a', NULL, NULL, 1000.0, 'hello', '{}')")
    old.commit()
    old.close()
    for _ in range(2):
        with Store(path) as store:
            found = store.samples(identifier="a", run="r1", since=0, until=1e10, metrics=(), limit=10_000)[0]
            assert [(s["sequence"], s["time"], s["values"]["cpu_usage"]) for s in found] == [
                (at, 1000.0 + at, at) for at in range(1500)
            ]
            assert found[-1]["values"] == {"cpu_usage": 1499, "threads": None}
            assert store.lines(identifier="a", since=0, until=1e10, limit=10)[0][0]["message"] == "hello"
            with store.reading() as reader:
                (client,) = reading.clients(reader, 10)
                assert (client["runs"], client["samples"]) == (2, 1501)
                assert [run.run for run in reading.newest_runs(reader, [], 10)] == ["r2"]
                (of_first,) = summaries(reader, reading.runs(reader, ["a"], ["r1"])[0])
                assert (of_first["count"], of_first["max"]) == (1500, 1499)
            again = SampleBatch("a", "r1", ("cpu_usage",), (Row(1499, 1.0, (0.0,)),), {})
            assert store.add_samples(again) == 0
