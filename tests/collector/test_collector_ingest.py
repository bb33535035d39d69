"""What a collector takes, and how it refuses the rest."""

from __future__ import annotations

import gzip
import json
import logging
import logging.handlers
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import collector

from heflwr.collector import Store, create_app


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(tmp_path / "heflwr.db") as store:
        yield store


@pytest.fixture
def client(store: Store) -> FlaskClient:
    return create_app(store).test_client()


def batch(**changes: Any) -> dict[str, Any]:
    base = {
        "identifier": "client-1",
        "run": "0123456789abcdef",
        "metrics": ["cpu_usage", "network_bytes_sent"],
        "rows": [[0, 1_700_000_000.25, 12.5, 1024], [1, 1_700_000_005.25, None, 0]],
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not ...}


def stored(client: FlaskClient, query: str = "") -> list[dict[str, Any]]:
    return client.get(f"/api/v1/samples{query}").json["samples"]


@pytest.mark.parametrize("path", ["/simple_log", "/log"])
def test_samples_come_out_as_they_went_in(client: FlaskClient, path: str) -> None:
    """Both endpoints take a batch, acknowledge each row, and hand out the very same numbers."""
    answer = client.post(path, json=batch())
    assert (answer.status_code, answer.json) == (200, {"accepted": 2, "duplicates": 0})
    common = {"identifier": "client-1", "run": "0123456789abcdef"}
    assert stored(client) == [
        {**common, "sequence": 0, "time": 1_700_000_000.25, "values": {"cpu_usage": 12.5, "network_bytes_sent": 1024}},
        {**common, "sequence": 1, "time": 1_700_000_005.25, "values": {"cpu_usage": None, "network_bytes_sent": 0}},
    ]


def test_a_sample_that_is_sent_twice_is_stored_once(client: FlaskClient) -> None:
    """Identifier, run and sequence tell a duplicate; the first one stands, and another run is no duplicate."""
    client.post("/simple_log", json=batch())
    again = client.post("/simple_log", json=batch(rows=[[1, 1.0, 99, 99], [2, 2.0, 1, 1]]))
    assert again.json == {"accepted": 1, "duplicates": 1}
    assert client.post("/simple_log", json=batch(run="other")).json == {"accepted": 2, "duplicates": 0}
    assert client.post("/simple_log", json=batch(identifier="client-2")).json == {"accepted": 2, "duplicates": 0}
    found = stored(client, "?run=0123456789abcdef&identifier=client-1")
    assert [sample["values"]["network_bytes_sent"] for sample in found] == [1, 1024, 0]


def test_gzip_is_taken(client: FlaskClient) -> None:
    """A body that says Content-Encoding: gzip is unpacked."""
    packed = gzip.compress(json.dumps(batch()).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert client.post("/log", data=packed, headers=headers).json == {"accepted": 2, "duplicates": 0}


def test_what_a_full_sender_says_of_itself_is_kept(client: FlaskClient) -> None:
    """/api/v1/clients tells host, pid, versions and units; keys that nobody knows yet are ignored."""
    about = {"host": "jetson", "pid": 7, "interval": 5, "started": 1.7e9, "units": {"cpu_usage": "percent"}}
    about |= {"versions": {"python": "3.12"}, "sources": {"cpu": "/proc"}, "limits": {"cpu_cores": 0.5}}
    client.post("/log", json=batch(**about, from_the_future=[1]))
    (found,) = client.get("/api/v1/clients").json["clients"]
    assert found.pop("received") > 1.7e9
    assert found == {
        "identifier": "client-1",
        "runs": 1,
        "samples": 2,
        "first": 1_700_000_000.25,
        "last": 1_700_000_005.25,
        "about": about,
    }


NESTED = b'{"identifier": "a", "run": "b", "metrics": ["c"], "rows": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"

REFUSED: list[tuple[str, Any, str]] = [
    ("a list", [1], "JSON object"),
    ("empty", b"", "not JSON"),
    ("not UTF-8", b'{"identifier": "\xff"}', "not JSON in UTF-8"),
    ("cut short", b'{"identifier": "a"', "not JSON"),
    ("nested", NESTED, "nested too deep"),
    ("a huge integer", b'{"rows": ' + b"9" * 5000 + b"}", "not JSON"),
    ("NaN", json.dumps(batch(rows=[[0, 1.0, float("nan"), 1]])).encode(), "NaN"),
    ("Infinity", json.dumps(batch(rows=[[0, 1.0, float("inf"), 1]])).encode(), "Infinity"),
    ("overflow", json.dumps(batch()).replace("12.5", "1e999").encode(), "too large"),
    ("a sum's overflow", json.dumps(batch()).replace("12.5", "1.7e308").encode(), "from -1e+150 to 1e+150"),
    ("no interval at all", batch(interval=5e-324), "interval must be from 1e-06 to 1e+09 seconds"),
    ("a wide integer", json.dumps(batch()).replace("12.5", "9" * 400).encode(), "too large"),
    ("no identifier", batch(identifier=...), "identifier must be a string"),
    ("empty identifier", batch(identifier=""), "not be empty"),
    ("identifier of a number", batch(identifier=5), "identifier must be a string"),
    ("long identifier", batch(identifier="x" * 257), "256 characters, got 257"),
    ("half a surrogate", json.dumps(batch(identifier="\ud800")).encode(), "surrogate"),
    ("no run", batch(run=...), "run must match"),
    ("run with a slash", batch(run="../x"), "run must match"),
    ("no metrics", batch(metrics=[]), "1 to 128 entries"),
    ("too many metrics", batch(metrics=[f"m{i}" for i in range(129)]), "got 129"),
    ("metric twice", batch(metrics=["a", "a"]), "differ"),
    ("metric's name", batch(metrics=["a", 'b"']), "must match"),
    ("no rows", batch(rows=[]), "1 to 10000 entries"),
    ("rows of text", batch(rows="abc"), "rows must be a list, got a string"),
    ("a row of text", batch(rows=["abc"]), "got a string"),
    ("a short row", batch(rows=[[0, 1.0, 2]]), "(4), got 3 values"),
    ("text for a value", batch(rows=[[0, 1.0, "2", 3]]), "must be a number or null, got a string"),
    ("a bool for a value", batch(rows=[[0, 1.0, True, 3]]), "got true or false"),
    ("an object for a value", batch(rows=[[0, 1.0, {}, 3]]), "got an object"),
    ("negative sequence", batch(rows=[[-1, 1.0, 2, 3]]), "integer from 0"),
    ("fractional sequence", batch(rows=[[0.5, 1.0, 2, 3]]), "integer from 0"),
    ("huge sequence", batch(rows=[[2**60, 1.0, 2, 3]]), "integer from 0"),
    ("time before 1970", batch(rows=[[0, -1.0, 2, 3]]), "1970 to 2200"),
    ("time in milliseconds", batch(rows=[[0, 1.7e12, 2, 3]]), "1970 to 2200"),
    ("no time", batch(rows=[[0, None, 2, 3]]), "must be a number"),
    ("host of a list", batch(host=["a"]), "host must be a string, got a list"),
    ("units of a list", batch(units=[]), "units must be an object"),
    ("deep units", batch(units={"a": {"b": "c"}}), "got an object"),
    ("pid of text", batch(pid="7"), "pid must be an integer"),
    ("lines of text", {"identifier": "a", "lines": ["x"]}, "must be an object"),
    ("a line without message", {"identifier": "a", "lines": [{}]}, "message must be a string, got nothing"),
]


@pytest.mark.parametrize(("body", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_body_that_is_wrong_is_refused_with_the_reason(client: FlaskClient, body: Any, reason: str) -> None:
    """400, a JSON object that says what is wrong, and nothing stored."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/log", data=data, content_type="application/json")
    assert answer.status_code == 400
    assert reason in answer.json["error"]
    assert stored(client) == []
    assert client.get("/api/v1/clients").json["clients"] == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
changed = st.sampled_from(["identifier", "run", "metrics", "rows", "lines", "host", "units", "limits"])
changes = st.dictionaries(changed, json_values, max_size=3)
bodies = changes.map(lambda change: json.dumps({**batch(), **change}).encode()) | st.binary(max_size=200)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, content_type=st.sampled_from(["application/json", "application/x-www-form-urlencoded"]))
def test_no_body_whatsoever_is_answered_by_500(client: FlaskClient, body: bytes, content_type: str) -> None:
    """Whatever comes is taken or refused for a reason."""
    answer = client.post("/log", data=body, content_type=content_type)
    assert answer.status_code in (200, 400)
    assert "error" in answer.json or "accepted" in answer.json


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


def test_a_functions_value_may_be_an_integer_of_any_width(client: FlaskClient) -> None:
    """It is a number like another: no sender waits for a database that can never take it."""
    body = {"identifier": "server", "run": "r", "functions": [{"name": "f", "sequence": 0, "time": 1, "value": 10**30}]}
    answer = client.post("/api/v1/functions", json=body)
    assert (answer.status_code, answer.json) == (200, {"accepted": 1, "duplicates": 0})
    (function,) = client.get("/api/v1/functions").json["functions"]
    assert function["latest"]["value"] == 1e30


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(client: FlaskClient) -> None:
    """200 KB that unpack to 200 MiB are refused when 8 MiB have come out."""
    import tracemalloc

    packed = bomb(200 << 20)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    tracemalloc.start()
    try:
        answer = client.post("/log", data=packed, headers=headers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 413
    assert "unpacked" in answer.json["error"]
    assert peak < 32 << 20


@pytest.mark.parametrize(
    ("data", "headers", "status", "reason"),
    [
        (b"x" * ((1 << 20) + 1), {"Content-Type": "application/json"}, 413, "at most 1048576 bytes"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "application/json"),
        (b"{}", {}, 415, "application/json"),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "br"}, 415, "gzip or none"),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 400, "not gzip"),
        (
            gzip.compress(b"{}", mtime=0)[:-9],
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            400,
            "cut short",
        ),
        (
            gzip.compress(b"{}", mtime=0) + b"x",
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
            400,
            "behind",
        ),
        (json.dumps(batch()).encode(), {"Content-Type": "application/json", "Origin": "http://evil"}, 403, "web pages"),
    ],
)
def test_sizes_types_and_encodings_are_checked(
    client: FlaskClient, data: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    """413, 415 and 403 come with their reason too."""
    answer = client.post("/log", data=data, headers=headers)
    assert (answer.status_code, reason in answer.json["error"]) == (status, True)
    assert stored(client) == []


def test_an_unknown_path_or_method_is_answered_in_json(client: FlaskClient) -> None:
    """404 and 405 are JSON objects as all other errors."""
    assert client.get("/nothing").status_code == 404
    answer = client.get("/log")
    assert (answer.status_code, "POST" in answer.headers["Allow"]) == (405, True)
    assert "error" in answer.json


def test_a_database_that_fails_asks_to_come_again(client: FlaskClient, store: Store) -> None:
    """A store that cannot take rows now is 503 with Retry-After, never 500, and nothing is acknowledged."""
    store.close()
    answer = client.post("/log", json=batch())
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "closed" in answer.json["error"]


class Ancestor(logging.handlers.HTTPHandler):
    """How heflwr 0.1 sent: the standard handler, with an identifier."""

    def __init__(self, host: str, path: str, identifier: str) -> None:
        super().__init__(host, path, method="POST")
        self.identifier = identifier

    def mapLogRecord(self, record: logging.LogRecord) -> dict[str, Any]:  # noqa: N802 - logging's name
        record.message = record.getMessage()
        if self.url == "/simple_log":
            return {"identifier": self.identifier, "message": record.message}
        return {"identifier": self.identifier, **record.__dict__}


@pytest.mark.parametrize("path", ["/simple_log", "/log"])
def test_posts_of_the_ancestor_become_lines_and_samples(tmp_path: Path, path: str) -> None:
    """Forms of the standard HTTPHandler are kept as log lines, and its samples in words as samples too."""
    with collector(tmp_path / "heflwr.db") as collected:
        handler = Ancestor(collected.address, path, "old\nclient % ü")
        logger = logging.Logger("HeFlwr")
        logger.addHandler(handler)
        logger.info("Cpu Usage: 1.2%, Memory Usage: 3.4%, Bytes Sent: 1, Bytes Recv: 2, ")
        logger.info("VDD In: 4856, VDD cpu_gpu_cv: 1200.5, VDD soc: -3, ")
        logger.warning("Cpu Usage: none of your business, %s", "café & co")
        messages = [line["message"] for line in collected.lines()]
        samples = collected.samples()
        fields = [line["fields"] for line in collected.lines()]
    assert messages[2] == "Cpu Usage: none of your business, café & co"
    assert [sample["values"] for sample in samples] == [
        {"cpu_usage": 1.2, "memory_usage": 3.4, "network_bytes_sent": 1, "network_bytes_recv": 2},
        {"power_vdd_in": 4856, "power_vdd_cpu_gpu_cv": 1200.5, "power_vdd_soc": -3},
    ]
    assert {(sample["identifier"], sample["run"]) for sample in samples} == {("old\nclient % ü", "ancestor")}
    if path == "/log":
        assert fields[2]["levelname"] == "WARNING"
        assert fields[2]["filename"] == "test_collector_ingest.py"


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (b"identifier=a", "no field 'message'"),
        (b"message=a", "no field 'identifier'"),
        (b"identifier=&message=a", "must not be empty"),
        (b"identifier=a&message=b&created=later", "Unix time"),
        (b"identifier=a&message=b&created=nan", "too large"),
        (b"identifier=a&message=b&created=1e15", "1970 to 2200"),
        (b"identifier=%FF&message=b", "not a form"),
        (b"&".join(b"f%d=1" % i for i in range(200)), "at most 100 fields"),
    ],
)
def test_a_form_that_is_wrong_is_refused_with_the_reason(client: FlaskClient, form: bytes, reason: str) -> None:
    """Forms are checked as strictly as JSON."""
    answer = client.post("/log", data=form, content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, reason in answer.json["error"]) == (400, True), answer.json


def test_log_lines_are_stored_once(client: FlaskClient) -> None:
    """Lines with a run and a number are recognised when they come again; lines without are all kept."""
    body = {"identifier": "a", "run": "r", "lines": [{"message": "x", "sequence": 0, "level": "INFO", "line": 3}]}
    assert client.post("/log", json=body).json == {"accepted": 1, "duplicates": 0}
    assert client.post("/log", json=body).json == {"accepted": 0, "duplicates": 1}
    bare = {"identifier": "a", "lines": [{"message": "y"}, {"message": "y", "time": 5.0}]}
    assert client.post("/simple_log", json=bare).json == {"accepted": 2, "duplicates": 0}
    found = client.get("/api/v1/logs").json["lines"]
    assert [line["message"] for line in found] == ["y", "x", "y"]
    assert found[1]["fields"] == {"level": "INFO", "line": 3}


def test_the_database_is_plain_sqlite_in_wal_mode(client: FlaskClient, store: Store) -> None:
    """Anyone may read the file while the collector runs."""
    client.post("/log", json=batch())
    reader = sqlite3.connect(store.place)
    try:
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert reader.execute("SELECT sum(samples) FROM chunks").fetchone() == (2,)
    finally:
        reader.close()
