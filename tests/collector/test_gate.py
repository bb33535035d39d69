"""The busy door: what it answers without a thread is what it answers with one, in turn, and nothing holds it up."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from waiting import wait_for
from werkzeug.test import EnvironBuilder

from heflwr.collector import Store, create_app, guard, serving
from heflwr.collector.answers import Answer
from heflwr.collector.gate import SMALL_BYTES
from heflwr.collector.serving import Server

JSON = {"Content-Type": "application/json"}


@contextlib.contextmanager
def served(server: Server) -> Iterator[int]:
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.listening[0][1]
    finally:
        server.stop()
        thread.join()
        server.finish()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("gate") / "heflwr.db") as store:
        yield store


@pytest.fixture(scope="module")
def app(store: Store) -> Flask:
    return create_app(store, rate=0)


@pytest.fixture(scope="module")
def port(app: Flask) -> Iterator[int]:
    server = Server(app, door=app.extensions["heflwr.collector.gate"].begin, host="127.0.0.1", port=0)
    with served(server) as port:
        yield port


def batch(identifier: str, count: int = 1, **changes: Any) -> bytes:
    rows = [[row, 1.7e9 + row, row] for row in range(count)]
    return json.dumps({"identifier": identifier, "run": "r", "metrics": ["threads"], "rows": rows, **changes}).encode()


def ask(port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] = JSON) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def raw(path: str, body: bytes, method: str = "POST") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answers(connection: socket.socket, count: int) -> list[tuple[int, Any]]:
    found = []
    with connection.makefile("rb") as stream:
        for _ in range(count):
            status = int(stream.readline().split()[1])
            head = http.client.parse_headers(stream)
            found.append((status, json.loads(stream.read(int(head["Content-Length"])))))
    return found


def test_batches_and_other_requests_of_one_connection_are_answered_in_turn(port: int) -> None:
    """Sent at once: small ones, a large one, one that is refused, and a question in between."""
    large = batch("turn", 5_000, run="large")
    assert len(large) > SMALL_BYTES
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(
            raw("/log", batch("turn", 2))
            + raw("/healthz", b"", "GET")
            + raw("/log", batch("turn", 3))
            + raw("/log", large)
            + raw("/log", b"{")
            + raw("/log", batch("turn", 4))
        )
        found = answers(connection, 6)
    assert [status for status, _ in found] == [200, 200, 200, 200, 400, 200]
    assert found[0][1] == {"accepted": 2, "duplicates": 0}
    assert found[1][1] == {"status": "ok"}
    assert found[2][1] == {"accepted": 1, "duplicates": 2}
    assert found[3][1] == {"accepted": 5_000, "duplicates": 0}
    assert found[5][1] == {"accepted": 1, "duplicates": 3}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("POST", "/log", batch("same"), JSON),
        ("POST", "/simple_log", gzip.compress(batch("same", 50)), {**JSON, "Content-Encoding": "gzip"}),
        ("POST", "/log", b'{"identifier": "same", "lines": [{"message": "x", "sequence": 1}], "run": "r"}', JSON),
        ("POST", "/log", gzip.compress(bytes(9 << 20)), {**JSON, "Content-Encoding": "gzip"}),
        ("POST", "/log", gzip.compress(batch("same", 3_000)), {**JSON, "Content-Encoding": "gzip"}),
        ("POST", "/log", gzip.compress(batch("same"))[:-9], {**JSON, "Content-Encoding": "gzip"}),
        ("POST", "/log", b"no gzip", {**JSON, "Content-Encoding": "gzip"}),
        ("POST", "/log", batch("same"), {**JSON, "Content-Encoding": "br"}),
        ("POST", "/log", batch("same"), {"Content-Type": "text/plain"}),
        ("POST", "/log", batch("same", rows=[[0, float("nan"), 1]]), JSON),
        ("POST", "/log", b"[" * 20_000, JSON),
        ("POST", "/log", b" " * ((1 << 20) + 1), JSON),
        ("POST", "/log", b"", JSON),
        ("POST", "/log", batch("same"), {**JSON, "Origin": "http://elsewhere"}),
        ("GET", "/log", b"", {}),
        ("DELETE", "/simple_log", b"", {}),
    ],
)
def test_an_answer_does_not_depend_on_the_server(
    app: Flask, port: int, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    """Status and body are those that any other WSGI server gets, for what is taken and for what is refused."""
    client = app.test_client()
    client.open(path, method=method, data=body, headers=headers)  # from now on all are duplicates
    other = client.open(path, method=method, data=body, headers=headers)
    assert ask(port, method, path, body, headers) == (other.status_code, other.get_json())


@pytest.mark.parametrize("is_door", [True, False])
def test_an_answer_to_head_has_no_body_that_the_next_answer_would_begin_with(app: Flask, is_door: bool) -> None:
    """Whoever makes it: what comes behind it on the connection is the next answer."""
    door = app.extensions["heflwr.collector.gate"].begin if is_door else None
    with (
        served(Server(app, door=door, host="127.0.0.1", port=0)) as port,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection,
    ):
        for method, expected in (("HEAD", b""), ("GET", b'{"error": "/log takes POST"}\n')):
            connection.request(method, "/log")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (405, expected)


def test_what_is_refused_does_not_hold_up_what_was_sent_behind_it(
    port: int, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that would look again in an hour only goes on with what it has at hand."""
    ask(port, "POST", "/log", batch("renews"))
    monkeypatch.setattr(serving, "_WAIT_SECONDS", 3600.0)
    server = Server(app, door=app.extensions["heflwr.collector.gate"].begin, host="127.0.0.1", port=0)
    with served(server) as other, socket.create_connection(("127.0.0.1", other), 30) as connection:
        connection.sendall(20 * raw("/log", b"{}"))
        assert [status for status, _ in answers(connection, 20)] == [400] * 20


def test_clients_that_leave_before_their_answer_hold_up_nobody(port: int, store: Store) -> None:
    """What they sent is stored, and the next one is answered."""
    for number in range(100):
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(raw("/log", batch(f"leaver-{number}")))
    assert ask(port, "POST", "/log", batch("stayer"))[0] == 200

    def stored() -> int:
        with store.reading() as reader:
            return int(reader.execute("SELECT count(*) FROM clients WHERE identifier LIKE 'leaver-%'").fetchone()[0])

    wait_for(lambda: stored() == 100)


def test_many_clients_at_a_time_each_get_their_own_answer(port: int) -> None:
    """Two hundred connections send batches of different sizes before any reads."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(200)]
        for number, connection in enumerate(connections):
            connection.sendall(raw("/log", batch(f"many-{number}", number % 7 + 1)))
        for number, connection in enumerate(connections):
            assert answers(connection, 1) == [(200, {"accepted": number % 7 + 1, "duplicates": 0})]


def test_batches_that_wait_for_the_disk_hold_no_thread(port: int, store: Store) -> None:
    """While nothing is written, a hundred wait, and a question is answered; then they are."""
    may_write = threading.Event()
    store.writer.submit(lambda writer: may_write.wait(60), lambda outcome: None)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(100)]
        for number, connection in enumerate(connections):
            connection.sendall(raw("/log", batch(f"waiting-{number}")))
        assert ask(port, "GET", "/healthz")[0] == 200
        may_write.set()
        for connection in connections:
            assert answers(connection, 1) == [(200, {"accepted": 1, "duplicates": 0})]


def test_of_batches_that_come_while_nothing_is_written_few_take_a_thread(
    port: int, app: Flask, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time renews the tokens, whatever comes meanwhile: threads are left for questions."""
    monkeypatch.setattr(guard, "KNOWN_SECONDS", 60.0)
    gate = app.extensions["heflwr.collector.gate"]
    assert ask(port, "POST", "/log", batch("renewer"))[0] == 200
    gate._guard._known_at -= 40.0  # it is time
    may_write = threading.Event()
    store.writer.submit(lambda writer: may_write.wait(60), lambda outcome: None)
    taken = [gate.begin(environ(batch(f"begun-{number}")), lambda answer: None) for number in range(50)]
    may_write.set()
    assert taken == [False] + [True] * 49


def environ(body: bytes) -> dict[str, Any]:
    return EnvironBuilder("/log", method="POST", data=body, content_type="application/json").get_environ()


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = json.dumps("from a thread").encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def test_a_server_that_is_stopped_answers_what_it_has_taken() -> None:
    """The answer comes after run() has returned."""
    tells = []

    def door(environ: dict[str, Any], tell: Any) -> bool:
        tells.append(tell)
        return True

    server = Server(echo, door=door, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    with socket.create_connection(("127.0.0.1", server.listening[0][1]), 30) as connection:
        connection.sendall(raw("/log", b"x"))
        wait_for(lambda: bool(tells))
        server.stop()
        thread.join()
        finishing = threading.Thread(target=server.finish)
        finishing.start()
        tells[0](Answer(200, {"accepted": 1}))
        assert answers(connection, 1) == [(200, {"accepted": 1})]
        finishing.join()


def test_what_fails_at_the_door_goes_to_a_thread() -> None:
    """The connection and the server live on."""

    def door(environ: dict[str, Any], tell: Any) -> bool:
        raise ValueError("a fault of ours")

    with served(Server(echo, door=door, host="127.0.0.1", port=0)) as port:
        assert [ask(port, "POST", "/log", b"x") for _ in range(2)] == [(200, "from a thread")] * 2


@pytest.mark.parametrize(("proxy", "expected"), [("127.0.0.1", "192.0.2.7"), (None, "127.0.0.1")])
def test_the_door_believes_the_proxy_that_the_application_believes(proxy: str | None, expected: str) -> None:
    """And nobody else who says where a request comes from."""

    def door(environ: dict[str, Any], tell: Any) -> bool:
        tell(Answer(200, {"from": environ["REMOTE_ADDR"]}))
        return True

    with served(Server(echo, door=door, host="127.0.0.1", port=0, proxy=proxy)) as port:
        assert ask(port, "POST", "/log", b"x", {"X-Forwarded-For": "192.0.2.7"}) == (200, {"from": expected})
