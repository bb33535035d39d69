"""The HTTP server: waitress, with a loop that does not look at idle connections and, on demand, TLS.

Waitress, because it reads requests and writes answers in one thread that never blocks: a client that dawdles holds a
connection, where servers with a thread a connection let it hold a thread. It is pure Python and runs everywhere. Three
things that it lacks are added here through its own hooks: it asks every open connection before each wait, which for a
thousand clients that keep theirs costs half a core; it wakes its loop after every answer, also where there is nothing
to do; and it has no TLS. A stream of events does hold a thread, so listeners are few.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.wasyncore import read, write

from heflwr.collector.ingest import BODY_BYTES

THREADS = 32
"""Requests at a time, besides streams of events: they wait for the disk, and share its commits."""

CONNECTIONS_MAX = 4_000
"""Open connections; a thousand clients keep one each."""

IDLE_SECONDS = 75
"""How long a connection may be silent; clients that send every minute keep theirs."""

HEAD_BYTES = 32_768

_WAIT_SECONDS = 1.0

_LOOK_AT_ALL_SECONDS = 15.0
"""So often every connection is looked at: waitress marks what has been silent for too long."""


class Server:
    """A WSGI application on a port.

    Args:
        application: What to serve.
        host: Address to listen on.
        port: TCP port, 0 for any that is free.
        tls: A server's context, None for plain HTTP.
        streams: Threads for answers that do not end.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        streams: int = 0,
    ) -> None:
        """Listen. Raises OSError where that is not possible."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each request that waits
        self._map: dict[int, Any] = {}
        self._server = create_server(
            application,
            map=self._map,
            host=host,
            port=port,
            threads=THREADS + streams,
            ident=None,  # do not tell strangers what we run
            max_request_body_size=2 * BODY_BYTES,  # above ours: what is just too large gets a reason in JSON
            max_request_header_size=HEAD_BYTES,
            connection_limit=CONNECTIONS_MAX,
            channel_timeout=IDLE_SECONDS,
            recv_bytes=1 << 16,  # more than a record of TLS: nothing stays in its buffer
            url_scheme="http" if tls is None else "https",
        )
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        self._active: set[Any] = set()
        self.serving = threading.local()  # .channel: whose request this thread works on
        for item in list(self._map.values()):
            self._active.add(item)
            if hasattr(item, "channel_class"):
                item.channel_class = self._channel
                item.pull_trigger = functools.partial(self._wake, item.pull_trigger)
        self._tls = tls
        self._is_stopping = False
        found = getattr(self._server, "effective_listen", None)
        self.listening: list[tuple[str, int]] = found or [(self._server.effective_host, self._server.effective_port)]

    def run(self) -> None:
        """Serve until stop() or SystemExit."""
        look_at = 0.0
        try:
            while not self._is_stopping:
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + _LOOK_AT_ALL_SECONDS
                    self._active.update(self._map.values())
                self._watch()
                for key, events in self._selector.select(_WAIT_SECONDS):
                    item = self._map.get(key.fd)
                    if item is None:
                        continue
                    self._active.add(item)
                    if events & selectors.EVENT_READ:
                        if item.readable():
                            read(item)
                        else:  # it sends more, or has gone, before it has its answer
                            self.left(key.fd)
                    if events & selectors.EVENT_WRITE and self._map.get(key.fd) is item:
                        write(item)
        except (SystemExit, KeyboardInterrupt):
            pass

    def stop(self) -> None:
        """Let run() return within a second; from any thread."""
        self._is_stopping = True

    def finish(self) -> None:
        """Let running requests finish, for some seconds, and close every connection; after run()."""
        self._server.task_dispatcher.shutdown()
        for item in list(self._map.values()):
            with contextlib.suppress(OSError):
                item.handle_close() if isinstance(item, HTTPChannel) else item.close()  # and the files of large answers
        self._selector.close()

    def _watch(self) -> None:
        """Ask those that may have changed what they wait for; forget those that wait for a request or an answer."""
        for item in list(self._active):
            self._active.discard(item)  # first: a worker that changes it from now on says so
            fd = item._fileno
            if fd not in self._map or self._map[fd] is not item:
                continue
            is_reading, is_writing = item.readable(), item.writable() and not item.accepting
            if is_writing or not isinstance(item, HTTPChannel):
                self._active.add(item)
            elif not is_reading:  # a worker has it; it stays watched, since clients wait for the answer
                is_reading = bool(self._watched.get(fd, 0) & selectors.EVENT_READ)
            events = (selectors.EVENT_READ if is_reading else 0) | (selectors.EVENT_WRITE if is_writing else 0)
            if events != self._watched.get(fd, 0):
                if not events:
                    self._selector.unregister(fd)
                elif fd in self._watched:
                    self._selector.modify(fd, events)
                else:
                    self._selector.register(fd, events)
                self._watched[fd] = events
                if not events:
                    del self._watched[fd]

    def _wake(self, pull: Callable[[], None]) -> None:
        """Wake the loop, unless the connection that this thread serves has no business with it."""
        channel = getattr(self.serving, "channel", None)
        if channel is None or channel.writable() or channel.fd not in self._watched:
            if channel is not None:
                self._active.add(channel)
            pull()

    def _channel(self, server: Any, connection: socket.socket, address: Any, adjustments: Any, map: Any) -> None:
        try:
            _Channel(self, server, connection, address, adjustments, map)
        except OSError:  # it has gone already
            connection.close()

    def arrived(self, channel: Any) -> None:
        self._active.add(channel)

    def left(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._selector.unregister(fd)


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection; TLS on it where the server has a certificate."""

    def __init__(
        self, owner: Server, server: Any, connection: socket.socket, address: Any, adjustments: Any, map: Any
    ) -> None:
        self._owner = owner
        self._is_tls = owner._tls is not None
        self._lock = (
            threading.Lock()
        )  # a worker may write while the loop reads; one connection of OpenSSL bears one call
        self._wants_to_write = False
        if owner._tls is not None:
            connection.setblocking(False)
            connection = owner._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        super().__init__(server, connection, address, adjustments, map=map)

    def add_channel(self, map: Any = None) -> None:
        super().add_channel(map)
        self._owner.arrived(self)

    def del_channel(self, map: Any = None) -> None:
        self._owner.left(self._fileno)
        super().del_channel(map)

    @property
    def fd(self) -> int | None:
        """Its number, None once it is closed."""
        return self._fileno  # type: ignore[no-any-return]

    def service(self) -> None:
        self._owner.serving.channel = self
        super().service()

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
