"""An HTTP or HTTPS endpoint that nobody can hang: one request a connection, a deadline on each, a bound on all.

Waiting costs nothing (no polling). close() is prompt and frees the port whatever clients do or fail to do, and also
where a forked child inherited it.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

REQUEST_SECONDS = 5.0
"""Longest that a connection may last, TLS handshake included: a scrape takes milliseconds, and Prometheus itself gives
up after 10 s unless told otherwise."""

LINGER_SECONDS = 1.0
"""Longest that an answered client is waited for before the connection is cut: closing at once would discard an answer
whose client still sends."""

CONNECTIONS = 16
"""Connections at once; a pair of Prometheus servers needs two. A further one is served, and the oldest is cut: it waits
for a client that does not send."""

HEAD_BYTES = 16384
"""Longest request, headers included: what web servers commonly take."""

PAUSE_SECONDS = 0.2
"""Rest after a connection that could not be taken (no file descriptor, no thread left): it will still be there."""

CLOSE_SECONDS = 1.0
"""Longest that close() waits for its threads, which are cut off and end by themselves within milliseconds."""

PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks. Header names are in lower case; a header that came several times is joined by commas."""

    method: str
    path: str
    headers: Mapping[str, str]

    def bears(self, token: bytes) -> bool:
        """Return True where basic authentication sends this (name:password in base64); takes the same time if not."""
        scheme, _, sent = self.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "basic" and hmac.compare_digest(sent.strip().encode("latin-1"), token)


@dataclass(frozen=True, slots=True)
class Answer:
    """What it gets."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return an answer for people."""
        return cls(status, f"{text}\n".encode(), headers=headers or {})


Respond = Callable[[Request], Answer]
"""Answers a request; called from several threads."""


class Endpoint:
    """Listens between open() and close()."""

    def __init__(self, host: str, port: int, respond: Respond, tls: ssl.SSLContext | None = None) -> None:
        """Remember what to do.

        Args:
            host: Name or address to listen on; "" for all interfaces, IPv4 and, where the machine has it, IPv6.
            port: TCP port; 0 picks a free one.
            respond: Answers a request.
            tls: Serve HTTPS with this.
        """
        self.port = port
        self._host = host
        self._respond = respond
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: dict[_Connection, None] = {}  # a set that knows who is the oldest

    def open(self) -> None:
        """Listen. What it raises leaves nothing open.

        Raises:
            OSError: The address cannot be had (UnicodeError for some impossible names).
            RuntimeError: The system has no thread left.
        """
        with contextlib.ExitStack() as undo:
            self._listener = undo.enter_context(_listen(self._host, self.port))
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            self._ear, self._mouth = map(undo.enter_context, socket.socketpair())  # close() speaks, the thread hears
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._selector.register(self._ear, selectors.EVENT_READ)
            self._thread = threading.Thread(target=self._serve, name="heflwr-endpoint", daemon=True)
            _remember(self)
            undo.callback(_open.discard, self)
            self._thread.start()
            undo.pop_all()

    def close(self) -> None:
        """Free the port, cut every connection, end every thread."""
        until = time.monotonic() + CLOSE_SECONDS
        _open.discard(self)
        self._mouth.send(b"!")  # closing it would not do: a child may have inherited it
        self._thread.join(CLOSE_SECONDS)
        self._mouth.close()
        with self._lock:
            connections = tuple(self._connections)
        for connection in connections:
            connection.cut()
        for connection in connections:
            connection.join(max(0.0, until - time.monotonic()))

    def let_go(self) -> None:
        """Close our copies of the handles, in a forked child, and leave the parent's alone."""
        for connection in self._connections:
            connection.let_go()
        for handle in (self._listener, self._ear, self._mouth, self._selector):
            handle.close()

    def _serve(self) -> None:
        """Take connections until close(); runs in the endpoint's own thread."""
        while not any(key.fileobj is self._ear for key, _ in self._selector.select()):
            try:
                self._take(self._listener.accept()[0])
            except (BlockingIOError, ConnectionError):
                pass  # whoever knocked has left
            except (OSError, RuntimeError):
                self._selector.unregister(self._listener)
                self._selector.select(PAUSE_SECONDS)  # hears close()
                self._selector.register(self._listener, selectors.EVENT_READ)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # whoever else holds it open: nobody listens any more
        self._listener.close()
        self._selector.close()
        self._ear.close()

    def _take(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
            connection = _Connection(client, self._respond, self._forget)
            with self._lock:
                oldest = next(iter(self._connections)) if len(self._connections) >= CONNECTIONS else None
                self._connections[connection] = None
            if oldest is not None:
                oldest.cut()
                oldest.join(PAUSE_SECONDS)
            try:
                connection.start()
            except RuntimeError:
                self._forget(connection)
                raise
        except BaseException:
            client.close()
            raise

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.pop(connection, None)


class _Connection:
    """One client, one request, one thread."""

    def __init__(self, client: socket.socket, respond: Respond, on_end: Callable[[_Connection], None]) -> None:
        self._socket = client
        self._respond = respond
        self._on_end = on_end
        self._deadline = time.monotonic() + REQUEST_SECONDS
        self._thread = threading.Thread(target=self._run, name="heflwr-endpoint-request", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cut(self) -> None:
        """Wake the thread out of whatever it waits for; it ends."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # below TLS, which another thread may be using

    def join(self, seconds: float) -> None:
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def let_go(self) -> None:
        self._socket.close()

    def _run(self) -> None:
        try:
            with self._socket:
                self._hurry()
                if handshake := getattr(self._socket, "do_handshake", None):
                    handshake()
                method, answer = self._converse()
                self._hurry()
                self._socket.sendall(_encode(answer, with_body=method != "HEAD"))
                self._linger()
        except OSError:
            pass  # the client left, was too slow, was cut, or speaks no TLS
        finally:
            self._on_end(self)

    def _converse(self) -> tuple[str, Answer]:
        """Read the request; return its method and the answer. Raises OSError where there is no request to answer."""
        data = b""
        while b"\r\n\r\n" not in data:
            if len(data) > HEAD_BYTES:
                status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
                return "", Answer.text(status, f"a request may have {HEAD_BYTES} bytes")
            self._hurry()
            part = self._socket.recv(4096)
            if not part:
                raise ConnectionAbortedError
            data += part
        request = _decode(data.partition(b"\r\n\r\n")[0])
        if request is None:
            return "", Answer.text(HTTPStatus.BAD_REQUEST, "this is not HTTP/1")
        return request.method, self._respond(request)

    def _linger(self) -> None:
        """Let the client take the answer: it sees its end, and closes."""
        self._deadline = min(self._deadline, time.monotonic() + LINGER_SECONDS)
        socket.socket.shutdown(self._socket, socket.SHUT_WR)
        self._hurry()
        while socket.socket.recv(self._socket, 4096):
            self._hurry()

    def _hurry(self) -> None:
        """Give the next wait what is left of the connection's time. Raises TimeoutError when nothing is."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _listen(host: str, port: int) -> socket.socket:
    if host:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # localhost is 127.0.0.1
        return socket.create_server(address[:2], family=family)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise
    return socket.create_server(("", port))


def _decode(head: bytes) -> Request | None:
    """Return the request, None where the bytes are none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            return None
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return Request(words[0], words[1].partition("?")[0], headers)


def _encode(answer: Answer, *, with_body: bool) -> bytes:
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (answer.body if with_body else b"")


_open: set[Endpoint] = set()
"""Endpoints of this process: a forked child gives up its copies of their handles."""

_is_watching_forks = False


def _remember(endpoint: Endpoint) -> None:
    global _is_watching_forks
    if not _is_watching_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_let_go)
    _is_watching_forks = True
    _open.add(endpoint)


def _let_go() -> None:
    for endpoint in tuple(_open):
        endpoint.let_go()
    _open.clear()
