"""A connection as waitress knows it, with TLS where there is a certificate, and answers that come from elsewhere."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from waitress.channel import HTTPChannel
from waitress.task import Task, WSGITask

from heflwr.collector.answers import Answer
from heflwr.collector.early import EarlyAnswer
from heflwr.collector.hanging_up import has_hung_up
from heflwr.collector.peers import Peers
from heflwr.collector.watch import Watch

Door = Callable[[dict[str, Any], Callable[[Answer], None]], bool]
"""Begins to answer a request without waiting for anything. Is given a WSGI environment with the whole body, and what to
call with the answer, once, now or later, from any thread. Returns whether it does; if not, nothing has happened, and a
thread should ask the application."""


class Owner(Protocol):
    """The server whose connections these are."""

    tls: ssl.SSLContext | None
    serving: threading.local
    watch: Watch
    refused: Callable[[str], None]
    peers: Peers


class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection."""

    error_task_class = EarlyAnswer

    def __init__(
        self, owner: Owner, server: Any, connection: socket.socket, address: Any, adjustments: Any, map: Any
    ) -> None:
        self.owner = owner
        self._host = address[0]
        self._is_counted = False  # until it is complete: who makes it takes back what failed
        self._is_tls = owner.tls is not None
        self._lock = threading.Lock()  # a worker may write while the loop reads; OpenSSL bears one call at a time
        self._wants_to_write = False
        if owner.tls is not None:
            connection.setblocking(False)
            connection = owner.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        super().__init__(server, connection, address, adjustments, map=map)
        self._is_counted = True

    def add_channel(self, map: Any = None) -> None:
        super().add_channel(map)
        self.owner.watch.changed(self)

    def del_channel(self, map: Any = None) -> None:
        self.owner.watch.forget(self._fileno)
        if self._is_counted:
            self._is_counted = False
            self.owner.peers.leave(self._host)
        super().del_channel(map)

    @property
    def fd(self) -> int | None:
        """Its number, None once it is closed."""
        return self._fileno  # type: ignore[no-any-return]

    def check_client_disconnected(self) -> bool:
        """Return whether the other side has hung up: streams ask, which write nothing for a while."""
        fd = self.fd
        return fd is None or bool(super().check_client_disconnected()) or has_hung_up(fd)

    def service(self) -> None:
        self.owner.serving.channel = self
        super().service()

    def begin(self, door: Door, tell: Callable[[Channel, Answer], None]) -> bool:
        """Show the door a request that has come, and return whether it took it."""
        request = self.requests[0]
        if request.error is not None:
            return False
        taken = door(WSGITask(self, request).get_environment(), functools.partial(tell, self))
        return taken is True  # the middleware for proxies answers headers that are malformed by itself, as WSGI does

    def answer(self, answer: Answer) -> None:
        """Send the answer to a request that the door took, and go on to the next."""
        self.task_class = functools.partial(_Told, answer)
        try:
            self.service()
        finally:
            del self.task_class

    def writable(self) -> bool:
        return bool(self._wants_to_write or super().writable())

    def handle_write(self) -> None:
        if self._wants_to_write:
            self._wants_to_write = False
            self.handle_read()
        if self.connected:
            super().handle_write()

    def recv(self, size: int) -> bytes:
        """Return what has come; no bytes where nothing has, or the other side has gone."""
        if not self._is_tls:
            return bytes(super().recv(size))
        try:
            with self._lock:
                data = self.socket.recv(size)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLWantWriteError:
            self._wants_to_write = True
            return b""
        except OSError:  # no TLS, or not ours; a port scan
            data = b""
        if not data:
            self.handle_close()
        return bytes(data)

    def handle_read(self) -> None:
        if not self._is_tls:
            super().handle_read()
            return
        data = self.recv(self.adj.recv_bytes)
        if data:
            self.last_activity = time.time()
            self.received(data)

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send what fits, and return how much that was."""
        if not self._is_tls:
            return int(super().send(data, do_close=do_close) or 0)
        try:
            with self._lock:
                return int(self.socket.send(data))
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except OSError:
            if do_close:
                self.handle_close()
            return 0


class _Told(Task):  # type: ignore[misc]  # waitress has no types
    """Writes an answer that is there already."""

    complete = True

    def __init__(self, answer: Answer, channel: Channel, request: Any) -> None:
        super().__init__(channel, request)
        self._content = answer.content
        self.status = answer.status_line
        self.response_headers = answer.headers
        self.content_length = len(self._content)

    def execute(self) -> None:
        head = self.build_response_header()
        self.channel.write_soon(head if self.request.command == "HEAD" else head + self._content)
        self.wrote_header = True
