"""What a collector hands out, to whom, and how it tells of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from heflwr.collector import Store, create_app


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(tmp_path / "heflwr.db") as store:
        yield store


@pytest.fixture
def client(store: Store) -> FlaskClient:
    client = create_app(store).test_client()
    for identifier, start in (("a", 1000.0), ("b", 1000.5)):
        rows = [[sequence, start + sequence, sequence, 10 * sequence] for sequence in range(10)]
        body = {"identifier": identifier, "run": f"run-{identifier}", "metrics": ["threads", "open_files"]}
        assert client.post("/simple_log", json={**body, "rows": rows}).status_code == 200
    return client


def found(client: FlaskClient, query: str) -> list[tuple[str, int]]:
    return [
        (sample["identifier"], sample["sequence"]) for sample in client.get(f"/api/v1/samples?{query}").json["samples"]
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("identifier=a&since=1007", [("a", 7), ("a", 8), ("a", 9)]),
        ("run=run-b&until=1001.5", [("b", 0), ("b", 1)]),
        ("since=1003&until=1004", [("a", 3), ("b", 3), ("a", 4)]),
        ("limit=3", [("b", 8), ("a", 9), ("b", 9)]),
        ("identifier=nobody", []),
        ("identifier=a&run=run-b", []),
    ],
)
def test_samples_are_found_by_client_run_and_time(
    client: FlaskClient, query: str, expected: list[tuple[str, int]]
) -> None:
    """Filters narrow; the newest that fit the limit come, oldest first; both ends of a time span count."""
    assert found(client, query) == expected


def test_an_answer_says_whether_there_is_more(client: FlaskClient) -> None:
    """`truncated` is true exactly where the limit cut something off."""
    assert client.get("/api/v1/samples?limit=19").json["truncated"] is True
    assert client.get("/api/v1/samples?limit=20").json["truncated"] is False
    assert client.get("/api/v1/clients?limit=1").json["truncated"] is True


def test_only_the_metrics_asked_for_come(client: FlaskClient) -> None:
    """metric= may be given several times."""
    one = client.get("/api/v1/samples?metric=threads&limit=1").json["samples"][0]["values"]
    two = client.get("/api/v1/samples?metric=threads&metric=open_files&limit=1").json["samples"][0]["values"]
    assert (one, two) == ({"threads": 9}, {"threads": 9, "open_files": 90})


def test_clients_are_listed_the_latest_first(client: FlaskClient) -> None:
    """Each with its number of runs and samples, and its first and last time."""
    body = {"identifier": "a", "run": "again", "metrics": ["threads"], "rows": [[0, 900.0, 1]]}
    client.post("/simple_log", json=body)
    clients = client.get("/api/v1/clients").json["clients"]
    assert [(c["identifier"], c["runs"], c["samples"], c["first"], c["last"]) for c in clients] == [
        ("a", 2, 11, 900.0, 1009.0),
        ("b", 1, 10, 1000.5, 1009.5),
    ]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("limit=0", "from 1 to 10000"),
        ("limit=10001", "from 1 to 10000"),
        ("limit=x", "must be a number"),
        ("since=nan", "must be from"),
        ("until=-1", "must be from"),
        ("metrics=threads", "no parameter 'metrics'"),
        ("since=9&until=1", "since must not be after until, got 9.0 and 1.0"),
    ],
)
def test_a_query_that_is_wrong_is_refused_with_the_reason(client: FlaskClient, query: str, reason: str) -> None:
    """A mistyped or impossible parameter is 400, not an empty answer."""
    answer = client.get(f"/api/v1/samples?{query}")
    assert (answer.status_code, reason in answer.json["error"]) == (400, True), answer.json


PATHS = ["/api/v1/samples", "/api/v1/clients", "/api/v1/logs", "/metrics"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer ", "Basic secret", "secret", "Bearer secrét"])
def test_reading_and_writing_ask_for_the_token(store: Store, path: str, authorization: str | None) -> None:
    """Without the right token 401 for everything but /healthz, and the token is never repeated."""
    client = create_app(store, token="secret").test_client()
    headers = {} if authorization is None else {"Authorization": authorization.encode().decode("latin-1")}
    body = {"identifier": "a", "run": "r", "metrics": ["threads"], "rows": [[0, 1.0, 1]]}
    for answer in (client.get(path, headers=headers), client.post("/log", json=body, headers=headers)):
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "secret" not in answer.text
    assert client.get("/healthz").json == {"status": "ok"}
    right = {"Authorization": "Bearer secret"}
    assert client.get(path, headers=right).status_code == 200
    assert client.get("/api/v1/samples", headers=right).json["samples"] == []


def test_the_collector_counts_what_it_does(client: FlaskClient, store: Store) -> None:
    """/metrics tells samples, duplicates, refusals by reason and the size of the database."""
    body = {"identifier": "a", "run": "run-a", "metrics": ["threads"], "rows": [[9, 1.0, 1], [10, 1.0, 1]]}
    client.post("/log", json=body)
    client.post("/log", data=b"{", content_type="application/json")
    client.post("/log", json={"identifier": "a", "lines": [{"message": "x"}]})
    text = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines["heflwr_collector_samples_accepted_total"]) == 21
    assert float(lines["heflwr_collector_samples_duplicate_total"]) == 1
    assert float(lines["heflwr_collector_lines_accepted_total"]) == 1
    assert float(lines['heflwr_collector_requests_refused_total{reason="json"}']) == 1
    assert float(lines['heflwr_collector_clients{health="live"}']) == 2
    assert float(lines["heflwr_collector_pace_seconds"]) == 1
    assert float(lines["heflwr_collector_store_bytes"]) == store.size_bytes() > 0


def test_two_collectors_in_one_process_count_apart(tmp_path: Path, client: FlaskClient) -> None:
    """Each app has a registry of its own."""
    with Store(tmp_path / "other.db") as other:
        text = create_app(other).test_client().get("/metrics").text
    assert "heflwr_collector_samples_accepted_total 0.0" in text


@pytest.mark.parametrize("path", [*PATHS, "/healthz", "/nothing"])
def test_answers_are_safe_to_look_at(client: FlaskClient, path: str) -> None:
    """Every answer forbids sniffing, framing, scripts and caching."""
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_health_tells_of_a_database_that_is_gone(client: FlaskClient, store: Store) -> None:
    """/healthz is 503 when the database cannot be read."""
    store.close()
    for path in Path(store.place).parent.glob("heflwr.db*"):
        path.unlink()
    assert client.get("/healthz").status_code == 503


def test_an_empty_token_is_a_mistake(store: Store) -> None:
    """It would look protected and be open."""
    with pytest.raises(ValueError, match="token must not be empty"):
        create_app(store, token="")
