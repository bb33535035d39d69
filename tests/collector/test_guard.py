"""Who may do what: tokens, the page's session, how often, and from which web pages."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from heflwr.collector import Store, create_app, guard
from heflwr.collector.limiter import Limiter

BODY = {"identifier": "a", "run": "r", "metrics": ["threads"], "rows": [[0, 1.0, 1]]}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(guard, "KNOWN_SECONDS", 0.0)  # tokens are looked up every time
    with Store(tmp_path / "heflwr.db") as store:
        yield store


@pytest.fixture
def client(store: Store) -> FlaskClient:
    return create_app(store, rate=0).test_client()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_without_any_token_nobody_is_asked(client: FlaskClient) -> None:
    """The default on one's own machine."""
    assert client.post("/log", json=BODY).status_code == 200
    assert client.get("/api/v1/fleet").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:5000", "", "[::2]"])
def test_without_a_token_a_local_collector_answers_to_local_names_only(store: Store, host: str) -> None:
    """A page may give this machine a name of its own, and would read everything; a token ends that."""
    client = create_app(store, rate=0, is_local=True).test_client()
    for local in ("127.0.0.1:5000", "localhost", "[::1]:5000"):
        assert client.get("/api/v1/fleet", headers={"Host": local}).status_code == 200
    for path in ("/api/v1/fleet", "/metrics"):
        assert client.get(path, headers={"Host": host}).status_code == 403
    assert client.post("/log", json=BODY, headers={"Host": host}).status_code == 403
    token = store.add_token("me", "read")
    assert client.get("/api/v1/fleet", headers={"Host": host, **bearer(token)}).status_code == 200


def test_who_reads_without_a_token_is_not_counted_as_a_client_that_is_refused(
    client: FlaskClient, store: Store
) -> None:
    """A scanner must not ring the alarm that is for clients who cannot deliver."""
    token = bearer(store.add_token("me", "read"))
    for path in ("/api/v1/fleet", "/metrics", "/wp-admin"):
        assert client.get(path).status_code == 401
    assert client.post("/log", json=BODY).status_code == 401
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics", headers=token).text.splitlines())
    refused = {
        reason: float(lines[f'heflwr_collector_requests_refused_total{{reason="{reason}"}}'])
        for reason in ("reader", "token")
    }
    assert {"reader": 3, "token": 1} == refused


def test_a_clients_token_writes_its_own_identifier_and_nothing_else(client: FlaskClient, store: Store) -> None:
    """Neither another's samples, lines, windows, functions or targets, nor may it read."""
    token = bearer(store.add_token("a", "write"))
    assert client.post("/log", json=BODY, headers=token).json == {"accepted": 1, "duplicates": 0}
    other = {**BODY, "identifier": "b"}
    target = {"identifier": "b", "run": "r", "target": "127.0.0.1:9100"}
    point = {"identifier": "b", "run": "r", "functions": [{"name": "f", "sequence": 0, "time": 1.0}]}
    for path, body in (
        ("/log", other),
        ("/simple_log", {"identifier": "b", "lines": [{"message": "x"}]}),
        ("/log", {"identifier": "b", "run": "r", "windows": [{"name": "w", "start": 1.0}]}),
        ("/api/v1/targets", target),
        ("/api/v1/functions", point),
    ):
        answer = client.post(path, json=body, headers=token)
        assert (answer.status_code, "may only write 'a'" in answer.json["error"]) == (403, True), path
    answer = client.post("/write", data=b"m,identifier=a x=1 1\nm,identifier=b x=1 1", headers=token)
    assert answer.status_code == 403
    for path in ("/api/v1/samples", "/api/v1/fleet", "/metrics", "/api/v1/targets", "/api/v1/events"):
        assert client.get(path, headers=token).status_code == 403
    reader = bearer(store.add_token("me", "read"))
    assert {s["identifier"] for s in client.get("/api/v1/samples", headers=reader).json["samples"]} == {"a"}


def test_a_read_token_reads_and_writes_nothing(client: FlaskClient, store: Store) -> None:
    """Not even under its own name."""
    token = bearer(store.add_token("a", "read"))
    assert client.get("/api/v1/fleet", headers=token).status_code == 200
    assert client.get("/metrics", headers=token).status_code == 200
    for path in ("/log", "/write", "/api/v1/functions", "/api/v1/targets"):
        assert client.post(path, json=BODY, headers=token).status_code == 403


def test_a_revoked_token_is_worth_nothing(client: FlaskClient, store: Store) -> None:
    """Also a session that it has begun."""
    store.add_token("somebody else", "write")
    token = store.add_token("me", "read")
    assert client.post("/api/v1/login", json={"token": token}).status_code == 204
    assert client.get("/api/v1/fleet").status_code == 200
    store.revoke_token("me")
    assert client.get("/api/v1/fleet").status_code == 401
    assert client.get("/api/v1/fleet", headers=bearer(token)).status_code == 401


def test_a_collector_whose_last_token_is_revoked_is_not_open(client: FlaskClient, store: Store) -> None:
    """Who had it is refused, as is everybody else, until a collector is started that has never had one."""
    token = bearer(store.add_token("a", "write"))
    assert client.post("/log", json=BODY, headers=token).status_code == 200
    store.revoke_token("a")
    for headers in (token, {}):
        assert client.post("/log", json=BODY, headers=headers).status_code == 401
        assert client.get("/api/v1/fleet", headers=headers).status_code == 401
    assert create_app(store, rate=0).test_client().post("/log", json=BODY).status_code == 200


def test_the_page_logs_in_and_out(client: FlaskClient, store: Store) -> None:
    """The cookie is not for scripts nor for other sites, reads only, and ends with the session."""
    token = store.add_token("me", "read")
    own = {"Origin": "http://localhost"}
    with client.get("/") as page:
        assert page.status_code == 200
    assert client.get("/api/v1/fleet").status_code == 401
    for wrong in ("", "x", store.add_token("a", "write")):
        assert client.post("/api/v1/login", json={"token": wrong}, headers=own).status_code == 403
    answer = client.post("/api/v1/login", json={"token": token}, headers=own)
    cookie = answer.headers["Set-Cookie"]
    assert (answer.status_code, "HttpOnly" in cookie, "SameSite=Strict" in cookie) == (204, True, True)
    assert token not in cookie
    assert client.get("/api/v1/fleet").status_code == 200
    assert client.post("/log", json=BODY).status_code == 403
    assert client.delete("/api/v1/login", headers=own).status_code == 204
    assert client.get("/api/v1/fleet").status_code == 401


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token": 5}', b"{"])
def test_a_login_that_makes_no_sense_is_refused(client: FlaskClient, store: Store, body: bytes) -> None:
    """400, with the reason."""
    store.add_token("me", "read")
    assert client.post("/api/v1/login", data=body).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil", "null", "https://localhost.evil"])
@pytest.mark.parametrize("path", ["/log", "/write", "/api/v1/targets", "/api/v1/functions", "/api/v1/login"])
def test_other_web_pages_can_do_nothing(client: FlaskClient, path: str, origin: str) -> None:
    """A page that a browser shows may not post, whoever the browser belongs to."""
    answer = client.post(path, json=BODY, headers={"Origin": origin})
    assert (answer.status_code, "web pages" in answer.json["error"]) == (403, True)


@pytest.mark.parametrize(
    "header", ["Token {}", "Bearer {}", "bearer {}", "Basic {basic}"], ids=["token", "bearer", "lower", "basic"]
)
def test_influxdbs_ways_to_carry_a_token_are_taken_where_it_writes(
    client: FlaskClient, store: Store, header: str
) -> None:
    """Token ... and a password count on /write; elsewhere only a bearer's."""
    token = store.add_token("a", "write")
    basic = base64.b64encode(f"anyone:{token}".encode()).decode()
    headers = {"Authorization": header.format(token, basic=basic)}
    assert client.post("/write", data=b"m cpu_usage=1 1", headers=headers).status_code == 204
    expected = 200 if header.lower().startswith("bearer") else 401
    assert client.post("/api/v1/targets", json={}, headers=headers).status_code in (400 if expected == 200 else 401,)
    reading = bearer(store.add_token("me", "read"))
    (sample,) = client.get("/api/v1/samples", headers=reading).json["samples"]
    assert sample["identifier"] == "a"


@pytest.mark.parametrize("value", ["Basic ###", "Basic /w==", "Token", "", "Digest x", "Bearer é"])
def test_headers_that_make_no_sense_are_401(client: FlaskClient, store: Store, value: str) -> None:
    """Never a 500."""
    store.add_token("a", "write")
    headers = {"Authorization": value.encode().decode("latin-1")}
    assert client.post("/write", data=b"x", headers=headers).status_code == 401


def test_guessing_is_slowed_down_and_the_right_token_is_not(client: FlaskClient, store: Store) -> None:
    """After some wrong tokens an address gets 429, which says when to come again."""
    right = bearer(store.add_token("me", "read"))
    answers = [client.get("/api/v1/fleet", headers=bearer(f"wrong{at}")) for at in range(80)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert client.get("/api/v1/fleet", headers=right).status_code == 200


def test_one_address_cannot_come_without_end(store: Store) -> None:
    """429 with Retry-After, counted by its reason; another address is not concerned."""
    app = create_app(store, rate=1)
    client = app.test_client()
    statuses = [client.get("/api/v1/fleet").status_code for _ in range(40)]
    assert statuses[:2] == [200, 200]
    assert 429 in statuses
    other: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": "10.0.0.1"}}
    assert client.get("/api/v1/fleet", **other).status_code == 200
    assert 'requests_refused_total{reason="rate"}' in client.get("/metrics", **other).text


def test_a_limiter_lets_through_what_it_says() -> None:
    """A burst at once, then one at a time; names that were forgotten begin anew."""
    now = [0.0]
    limiter = Limiter(rate=2.0, burst=3.0, clock=lambda: now[0])
    assert [limiter.allow("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert [limiter.allow("a"), limiter.allow("a")] == [0, 0.5]
    for name in range(20_000):
        limiter.allow(str(name))
    assert limiter.allow("a") == 0
