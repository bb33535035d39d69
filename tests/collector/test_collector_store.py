"""The collector's database: opened with care, never half written, and whole after kill -9."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path

import pytest
from servers import CollectorProcess, free_port, get, post
from waiting import wait_for

from heflwr.collector import Store, StoreUnavailable, create_app


def row_batch(identifier: str, sequence: int, rows: int = 10) -> bytes:
    values = [[sequence + at, 1_700_000_000.0 + sequence + at, at] for at in range(rows)]
    return json.dumps({"identifier": identifier, "run": "r", "metrics": ["threads"], "rows": values}).encode()


def test_a_database_is_found_again(tmp_path: Path) -> None:
    """What was stored is there after a restart, by path as well as by an open store."""
    database = tmp_path / "heflwr.db"
    for accepted in (10, 0):
        app = create_app(database)
        answer = app.test_client().post("/log", data=row_batch("a", 0), content_type="application/json")
        assert answer.json["accepted"] == accepted
        app.extensions["heflwr.collector"].close()


def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    """The database of another program is refused and not changed."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="another program"):
        Store(path).open()
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A file of a later version is not touched by an earlier one."""
    path = tmp_path / "heflwr.db"
    with Store(path):
        pass
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreUnavailable, match="newer heflwr"):
        Store(path).open()


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 50, None])
def test_what_is_no_database_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A text file, or a directory that is not there, is named with the way out."""
    path = tmp_path / "heflwr.db" if content else tmp_path / "missing" / "heflwr.db"
    if content:
        path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"heflwr\.db.*choose another file"):
        Store(path).open()


def test_writers_and_readers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Eight threads write and read at once; every row is there in the end."""
    with Store(tmp_path / "heflwr.db") as store:
        app = create_app(store)
        statuses: list[int] = []

        def work(name: str) -> None:
            client = app.test_client()
            for sequence in range(0, 200, 10):
                answer = client.post("/log", data=row_batch(name, sequence), content_type="application/json")
                statuses.append(answer.status_code)
                statuses.append(client.get(f"/api/v1/samples?identifier={name}&limit=5").status_code)

        threads = [threading.Thread(target=work, args=(f"client-{number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200}
        clients = app.test_client().get("/api/v1/clients").json["clients"]
    assert [client["samples"] for client in clients] == [200] * 8


def test_every_acknowledged_sample_survives_kill_9(tmp_path: Path) -> None:
    """A collector that is killed under load has lost nothing that it acknowledged."""
    database = tmp_path / "heflwr.db"
    acknowledged: list[tuple[str, int]] = []
    with CollectorProcess(database) as served:

        def work(name: str) -> None:
            sequence = 0
            try:
                while True:
                    status, _ = post(f"{served.url}/log", row_batch(name, sequence))
                    assert status == 200
                    acknowledged.extend((name, sequence + at) for at in range(10))
                    sequence += 10
            except (http.client.HTTPException, OSError, EOFError):
                pass  # it was killed

        threads = [threading.Thread(target=work, args=(f"client-{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(acknowledged) >= 500)
        served.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
    with Store(database) as store:
        found, _ = store.samples(identifier=None, run=None, since=0.0, until=1e10, metrics=(), limit=1_000_000)
    stored = [(sample["identifier"], sample["sequence"]) for sample in found]
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)


def test_the_command_says_where_it_listens_and_ends_in_order(tmp_path: Path) -> None:
    """Port 0 prints the real one; SIGTERM and SIGINT end it with code 0; the token comes from the environment."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with CollectorProcess(tmp_path / "heflwr.db", HEFLWR_COLLECTOR_TOKEN="s3cret") as served:
            assert served.greeting.startswith("heflwr collector on http://127.0.0.1:")
            assert get(f"{served.url}/healthz") == (200, {"status": "ok"})
            assert get(f"{served.url}/api/v1/clients")[0] == 401
            assert get(f"{served.url}/api/v1/clients", token="s3cret")[0] == 200
            assert served.end(number) == 0


def test_a_body_that_is_too_large_for_the_server_is_413(tmp_path: Path) -> None:
    """The limit holds over a real connection as well."""
    with CollectorProcess(tmp_path / "heflwr.db") as served:
        status, answer = post(f"{served.url}/log", b" " * ((1 << 20) + 1))
        assert (status, "at most 1048576 bytes" in answer["error"]) == (413, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535, got 70000"),
        (["--database", "missing/x.db"], "choose another file"),
        (["--token", ""], "--token must not be empty"),
    ],
)
def test_the_command_names_what_is_wrong(tmp_path: Path, arguments: list[str], text: str) -> None:
    """A wrong argument ends the command with a sentence, not with a traceback."""
    import subprocess

    command = [sys.executable, "-m", "heflwr.collector", "--port", "0", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The second collector on a port says so and ends."""
    import subprocess

    with CollectorProcess(tmp_path / "a.db", port=free_port()) as served:
        port = served.address.rpartition(":")[2]
        command = [sys.executable, "-m", "heflwr.collector", "--port", port, "--database", os.fspath(tmp_path / "b.db")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "choose another --port" in ended.stderr
