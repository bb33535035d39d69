"""The long poll by itself: TLS and tokens, what is no request of ours, who is gone, and what is too much."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_server import self_signed
from servers import FaultyServer, reply
from waiting import wait_for

pytest.importorskip("zmq")

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.transports.zeromq.handshake import Handshake
from heflwr.live import Agent, LiveCoordinator
from heflwr.live.ends import dialer_to, listener_at
from heflwr.live.errors import WrongKeys
from heflwr.live.keys import AUTHORITY, CERTIFICATE, CERTIFICATE_KEY, TOKEN, add, new
from heflwr.live.longpoll import bodies
from heflwr.live.longpoll.bodies import MOST_MESSAGES
from heflwr.live.longpoll.dialer import LongPollDialer
from heflwr.live.longpoll.listener import LongPollListener
from heflwr.live.longpoll.peers import MOST_OF_ONE
from heflwr.live.longpoll.tokens import digest_of
from heflwr.live.watches import watches_of

WATCHES = watches_of({"watch": [{"kind": "mean", "metric": "load", "bound": 2.0}]})


@contextmanager
def listening(name_of: Callable[[str], str | None] | None = None) -> Iterator[LongPollListener]:
    listener = LongPollListener("127.0.0.1", 0, None, name_of)
    listener.open()
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def dialing(address: str) -> Iterator[LongPollDialer]:
    dialer = dialer_to(address, None)
    assert isinstance(dialer, LongPollDialer)
    dialer.open()
    try:
        yield dialer
    finally:
        dialer.close()


def arrival(listener: LongPollListener) -> Any:
    """Return the next message."""
    return wait_for(lambda: next(iter(listener.receive(0.05, 1)), None), what="a message")


def test_an_agent_over_https_is_known_by_its_token(tmp_path: Path) -> None:
    """The coordinator's certificate is checked, and the token's digest stands in for the agent's public key."""
    server, ann = tmp_path / "server", tmp_path / "ann"
    add(server, "ann", _token_of_new(ann, new(server)))
    certificate, key = self_signed(tmp_path)
    certificate.rename(server / CERTIFICATE)
    key.rename(server / CERTIFICATE_KEY)
    (tmp_path / "load.json").write_text(json.dumps({"load": 10}))
    said: list[str] = []
    stop = threading.Event()
    with LiveCoordinator(WATCHES, "https://127.0.0.1:0", server) as live:
        assert live.address.startswith("https://127.0.0.1:")
        options: dict[str, Any] = {"interval": 0.05, "values": tmp_path / "load.json", "on_event": said.append}
        stranger = Agent(WATCHES, live.address, ann, **options)
        thread = threading.Thread(target=stranger.run, args=(stop,))
        thread.start()
        wait_for(
            lambda: any("the other side ended the handshake" in line for line in said), what="a refused certificate"
        )
        stop.set()
        thread.join()
        (ann / AUTHORITY).write_text((server / CERTIFICATE).read_text())
        stop.clear()
        agent = Agent(WATCHES, live.address, ann, **options)
        thread = threading.Thread(target=agent.run, args=(stop,))
        thread.start()
        wait_for(lambda: (live.standings[0].value, live.standings[0].live) == (10, 1), what="an answer")
        assert {"ann"} == set(live.reports()["mean load"])
        stop.set()
        thread.join()
        wait_for(lambda: live.standings[0].lost == 1, what="a goodbye")


def _token_of_new(folder: Path, coordinator: str) -> str:
    new(folder, coordinator)
    return (folder / TOKEN).read_text().strip()


def test_messages_go_both_ways_at_once() -> None:
    """An answer that is held back comes as soon as there is something; large ones too, in their order."""
    large = bytes(3 << 20)
    with listening() as listener, dialing(listener.address) as dialer:
        wait_for(lambda: dialer.send(b"hello"), what="a connection")
        first = arrival(listener)
        assert (b"hello", "") == (first.data, first.name)
        for message in (b"one", large, b"three"):
            assert listener.send(first.address, message)
        received: list[bytes | None] = []
        wait_for(lambda: received.extend(dialer.receive(0.05)) or len(received) == 3, what="three messages")
        assert [b"one", large, b"three"] == received
        assert (1, 0) == (dialer.connections, listener.refused_handshakes)


def test_who_is_gone_is_known_to_be() -> None:
    """A closed connection is seen although its answer is held back; and what nobody takes is not kept."""
    with listening() as listener:
        with dialing(listener.address) as dialer:
            wait_for(lambda: dialer.send(b"hello"), what="a connection")
            address = arrival(listener).address
        wait_for(lambda: not listener.send(address, b"nobody"), what="its end")
        assert not listener.send(b"/never seen", b"nobody")


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    """A bounded number of messages waits for it."""
    with listening() as listener:
        post(listener, b"")
        address = b"/" + bytes(16)
        sent = sum(listener.send(address, b"x") for _ in range(MOST_MESSAGES + 10))
        assert MOST_MESSAGES == sent


def test_a_listener_that_ends_answers_nobody_any_more() -> None:
    """The dialer knows, and is there again when the listener is."""
    with listening() as listener:
        address = listener.address
        with dialing(address) as dialer:
            wait_for(lambda: dialer.send(b"hello"), what="a connection")
            listener.close()
            wait_for(lambda: not dialer.send(b"nobody"), what="its end")
            again = listener_at(address, None, None, lambda key: None)
            again.open()
            try:
                wait_for(lambda: dialer.connections == 2, what="the second connection")
            finally:
                again.close()


def place(listener: LongPollListener) -> tuple[str, int]:
    """Return where it listens."""
    host, port = listener.address.removeprefix("http://").split(":")
    return host, int(port)


def post(listener: LongPollListener, body: bytes, *lines: str, first: str = "POST /live HTTP/1.1") -> str:
    """Return the status of a bare request's answer; "" where there is none."""
    headers = lines or (f"Heflwr-Connection: {'00' * 16}", f"Content-Length: {len(body)}")
    with socket.create_connection(place(listener), 20) as connection:
        connection.sendall("\r\n".join([first, *headers, "", ""]).encode() + body)
        answer = connection.recv(4096).decode()
    return answer.partition("\r\n")[0].removeprefix("HTTP/1.1 ")


ID = f"Heflwr-Connection: {'ab' * 16}"


@pytest.mark.parametrize(
    ("lines", "first", "status"),
    [
        ((), "GET / HTTP/1.1", "404 Not Found"),
        ((), "GET /live HTTP/1.1", "405 Method Not Allowed"),
        ((), "nonsense", "400 Bad Request"),
        ((ID,), "POST /live HTTP/1.1", "411 Length Required"),
        ((ID, "Content-Length: 1", "Content-Length: 2"), "POST /live HTTP/1.1", "411 Length Required"),
        ((ID, "Content-Length: 0", "Transfer-Encoding: chunked"), "POST /live HTTP/1.1", "400 Bad Request"),
        ((ID, "Content-Length: 0", "Transfer-Encoding : chunked"), "POST /live HTTP/1.1", "400 Bad Request"),
        ((ID, "Content-Length: 0", " folded: 1"), "POST /live HTTP/1.1", "400 Bad Request"),
        ((ID, "Content-Length: -1"), "POST /live HTTP/1.1", "411 Length Required"),
        ((ID, "Content-Length: 99999999"), "POST /live HTTP/1.1", "413 Content Too Large"),
        ((ID, "Content-Length: 0", "Host: page.example:7100"), "POST /live HTTP/1.1", "403 Forbidden"),
        (("Content-Length: 0",), "POST /live HTTP/1.1", "400 Bad Request"),
        ((ID, "Content-Length: 0", "Heflwr-Wait: nan"), "POST /live HTTP/1.1", "400 Bad Request"),
        ((ID, "X: " + 9000 * "x"), "POST /live HTTP/1.1", "431 Request Header Fields Too Large"),
    ],
)
def test_what_is_no_request_of_an_agent_is_refused(lines: tuple[str, ...], first: str, status: str) -> None:
    """With a status that says why; the listener goes on."""
    with listening() as listener:
        assert status == post(listener, b"", *lines, first=first)
        assert "200 OK" == post(listener, b"\x02\x00\x00\x00hi")
        assert b"hi" == arrival(listener).data
        assert "200 OK" == post(listener, b"\x02\x00", ID, "Content-Length: 2", "Host: [::1]:7100")
        assert [None] == list(listener.receive(5.0, 10))


def test_what_a_stranger_sends_is_not_read() -> None:
    """The answer comes before the body does: nobody without a token has megabytes kept for him."""
    with listening(lambda digest: None) as listener:
        assert "401 Unauthorized" == post(listener, b"", ID, "Content-Length: 4000000")
        assert 1 == listener.refused_handshakes


def test_strangers_do_not_keep_agents_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many connections, the oldest that has said nothing yet has to go."""
    monkeypatch.setattr("heflwr.live.longpoll.connections.MOST_CONNECTIONS", 5)
    with listening() as listener, ExitStack() as strangers, dialing(listener.address) as dialer:
        wait_for(lambda: dialer.send(b"hello"), what="a connection")
        for _ in range(20):
            strangers.enter_context(socket.create_connection(place(listener)))
        assert "200 OK" == post(listener, b"")
        assert (True, 1) == (dialer.send(b"still here"), dialer.connections)


def test_one_agent_does_not_take_the_room_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections it draws."""
    names = {digest_of(name): name for name in ("ann", "bob")}
    with listening(names.get) as listener:

        def status(name: str, number: int) -> str:
            return post(
                listener, b"", f"Heflwr-Connection: {number:032x}", "Content-Length: 0", f"Authorization: Bearer {name}"
            )

        drawn = [status("ann", number) for number in range(MOST_OF_ONE + 1)]
        assert [*["200 OK"] * MOST_OF_ONE, "503 Service Unavailable"] == drawn
        assert ["200 OK", "200 OK"] == [status("bob", 0), status("ann", 0)]


def test_who_does_not_take_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was not sent in time, it is not sent at all."""
    monkeypatch.setattr("heflwr.live.longpoll.requests.BODY_SECONDS", 0.1)
    size = 30 << 20
    with listening() as listener, socket.create_connection(place(listener)) as slow:
        slow.sendall(f"POST /live HTTP/1.1\r\n{ID}\r\nContent-Length: 0\r\nHeflwr-Wait: 20\r\n\r\n".encode())
        wait_for(lambda: listener.send(b"/" + bytes.fromhex("ab" * 16), bytes(size)), what="its request")
        time.sleep(0.5)
        received = 0
        with suppress(ConnectionError):
            while part := slow.recv(1 << 20):
                received += len(part)
        assert received < size


def test_a_forked_child_keeps_neither_the_port_nor_the_agents(tmp_path: Path) -> None:
    """Both are free when the listener is closed, although the child has its sockets open."""
    reader, writer = os.pipe()
    with listening() as listener, dialing(listener.address) as dialer:
        wait_for(lambda: dialer.send(b"hello"), what="a connection")
        with warnings.catch_warnings():
            for told in (DeprecationWarning, RuntimeWarning):  # there are threads, JAX's too; the child uses none
                warnings.simplefilter("ignore", told)
            child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        try:
            listener.close()
            wait_for(lambda: not dialer.send(b"nobody"), what="its end")
            again = LongPollListener(*place(listener), None, None)
            again.open()
            wait_for(lambda: dialer.connections == 2, what="the second connection")
            again.close()
        finally:
            os.close(writer)
            os.close(reader)
            os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("kind", "handshake"), [("application/octet-stream", Handshake.DONE), ("text/html", Handshake.BROKEN_OFF)]
)
def test_a_server_that_says_yes_to_everything_is_not_asked_all_the_time(kind: str, handshake: Handshake) -> None:
    """Somebody else's, or a proxy that knows no long poll: an agent must not burn its processor on it."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        reply(handler, 200, content_type=kind)

    with FaultyServer(answer) as server, dialing(f"http://{server.address}") as dialer:
        wait_for(lambda: dialer.handshake is handshake, what="an answer")
        time.sleep(0.3)
        assert len(server.requests) <= 4


def test_an_authority_of_ones_own_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that the system's authorities vouch for does not do then."""
    (tmp_path / "other").mkdir()
    certificate, key = self_signed(tmp_path)
    other, _ = self_signed(tmp_path / "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    new(tmp_path / "ann")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    listener = LongPollListener("127.0.0.1", 0, context, None)
    listener.open()
    try:
        for authority, handshake in ((None, Handshake.DONE), (other, Handshake.BROKEN_OFF)):
            if authority is not None:
                (tmp_path / "ann" / AUTHORITY).write_text(authority.read_text())
            dialer = dialer_to(listener.address, tmp_path / "ann")
            dialer.open()
            wait_for(lambda dialer=dialer: dialer.handshake is not Handshake.OPEN, what="a handshake")
            assert handshake is dialer.handshake
            dialer.close()
    finally:
        listener.close()


def test_unknown_tokens_do_not_fill_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever draws them at random is told of some times, and counted always; a token itself is never written."""
    monkeypatch.setattr("heflwr.live.reception.MOST_REMEMBERED", 3)
    new(tmp_path)
    said: list[str] = []
    with LiveCoordinator(WATCHES, "http://127.0.0.1:0", tmp_path, on_event=said.append) as live:
        host, port = live.address.removeprefix("http://").split(":")
        for number in range(10):
            connection = http.client.HTTPConnection(host, int(port))
            headers = {"Heflwr-Connection": 32 * "0", "Authorization": f"Bearer secret{number}"}
            connection.request("POST", bodies.PATH, b"", headers)
            assert 401 == connection.getresponse().status
            connection.close()
        assert (3, 10) == (len(said), live.counts["handshakes"])
        assert not any("secret" in line for line in said)


@given(st.lists(st.binary(max_size=100)), st.integers(0, 400))
def test_bodies_come_back_as_they_were(messages: list[bytes], most: int) -> None:
    """As many as fit are taken out of a queue; what is cut short is no body."""
    assert messages == bodies.split(bodies.joined(messages))
    waiting = deque(messages)
    taken = bodies.taken(waiting, most)
    assert messages == [*taken, *waiting]
    assert len(bodies.joined(taken)) <= most
    assert not waiting or len(bodies.joined([*taken, waiting[0]])) > most
    if messages:
        with pytest.raises(MalformedMessage):
            bodies.split(bodies.joined(messages)[:-1] if messages[-1] else bodies.joined(messages)[:-2])


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://127.0.0.1:0", "cannot use .*server.pem"),
        ("http://0.0.0.0:0", "tokens travel encrypted"),
        ("ftp://127.0.0.1:0", "an address is HOST:PORT"),
        ("https://127.0.0.1", "an address is HOST:PORT"),
    ],
)
def test_a_coordinator_without_encryption_or_certificate_is_told_so(address: str, words: str, tmp_path: Path) -> None:
    """At the door; likewise without keys, and on the agent's side."""
    new(tmp_path)
    with pytest.raises((ValueError, WrongKeys), match=words):
        LiveCoordinator(WATCHES, address, tmp_path)
    with pytest.raises(ValueError, match=r"a token travels encrypted|make keys"):
        Agent(WATCHES, "http://10.0.0.1:7100", tmp_path, values=tmp_path / "x")
    with pytest.raises(ValueError, match=r"needs a folder with server\.pem"):
        LiveCoordinator(WATCHES, "https://127.0.0.1:0")
    with pytest.raises(ValueError, match="make keys with"):
        LiveCoordinator(WATCHES, "http://0.0.0.0:0")
