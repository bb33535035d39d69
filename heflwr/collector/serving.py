"""The HTTP server: waitress, with a loop that does not look at idle connections and, on demand, TLS.

Waitress, because it reads requests and writes answers in one thread that never blocks: a client that dawdles holds a
connection, where servers with a thread a connection let it hold a thread. It is pure Python and runs everywhere. What
it lacks is added through its own hooks: it asks every open connection before each wait, which for a thousand clients
that keep theirs costs half a core; it wakes its loop after every answer, also where there is nothing to do; it has a
thread wait for every answer, where what costs most is to wake it twice; and it has no TLS. A stream of events does hold
a thread, so listeners are few.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from waitress.proxy_headers import proxy_headers_middleware
from waitress.server import create_server
from waitress.wasyncore import read, write

from heflwr.collector.answers import Answer
from heflwr.collector.connections import Channel, Door
from heflwr.collector.ingest import BODY_BYTES
from heflwr.collector.peers import Peers
from heflwr.collector.room import room_for
from heflwr.collector.watch import Watch

THREADS = 32
"""Requests at a time, besides streams of events: they wait for the disk, and share its commits."""

CONNECTIONS_MAX = 4_000
"""Open connections where the system allows so many files; a thousand clients keep one each."""

IDLE_SECONDS = 75
"""How long a connection may be silent; clients that send every minute keep theirs."""

HEAD_BYTES = 32_768

_SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: a client that takes nothing for so long has gone without a word
    _SOCKET_OPTIONS.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * IDLE_SECONDS))

_WAIT_SECONDS = 1.0

_LOOK_SECONDS = 0.05
"""Shortest time between two looks at the connections while small batches come from several at a time: together they
take a third of what each takes alone."""

_SMALL_BYTES = 1_024
"""Batches that are larger on average are no small ones: whoever sends them waits for the answer with more to send."""

_ACCEPTED_AT_ONCE = 256
"""Most connections that are accepted, or turned away, before those that are open have their turn."""

_FINISH_SECONDS = 5.0
"""How long answers that are being made may take once the server has been stopped."""

_LOOK_AT_ALL_SECONDS = 15.0
"""So often every connection is looked at: waitress marks what has been silent for too long."""


_logger = logging.getLogger("heflwr.collector")


class Server:
    """A WSGI application on a port.

    Args:
        application: What to serve.
        door: Sees every request before the application; None for none.
        host: Address to listen on.
        port: TCP port, 0 for any that is free.
        tls: A server's context, None for plain HTTP.
        streams: Threads for answers that do not end.
        proxy: Address of a reverse proxy whose X-Forwarded-For and X-Forwarded-Proto are believed; nobody else's are.
        refused: Called with a reason for what is turned away before the application sees it: "http" for what is none,
            "connections" for one more from an address that holds its share.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        *,
        door: Door | None = None,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        streams: int = 0,
        proxy: str | None = None,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Listen. Raises OSError where that is not possible."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line for each request that waits
        self._map: dict[int, Any] = {}
        self.refused = refused
        connections = room_for(CONNECTIONS_MAX)
        self.peers = Peers(connections, proxy)
        self._server = create_server(
            application,
            map=self._map,
            host=host,
            port=port,
            threads=THREADS + streams,
            ident=None,  # do not tell strangers what we run
            max_request_body_size=2 * BODY_BYTES,  # above ours: what is just too large gets a reason in JSON
            max_request_header_size=HEAD_BYTES,
            connection_limit=connections,
            channel_timeout=IDLE_SECONDS,
            recv_bytes=1 << 16,  # more than a record of TLS: nothing stays in its buffer
            url_scheme="http" if tls is None else "https",
            **_believing(proxy),
        )
        self.watch = Watch(self._map)
        self._door = door and proxy_headers_middleware(door, **_believing(proxy))
        self._loop_thread = 0
        self._begun = 0  # requests that the door took and has not answered
        self._begun_sizes: list[int] = []  # bytes of those since the last look
        self._ready: deque[Channel] = deque()
        self._told: queue.SimpleQueue[tuple[Channel, Answer]] = queue.SimpleQueue()
        self._is_woken = False
        self._has_accepted = False
        self.serving = threading.local()  # .channel: whose request this thread works on
        for item in list(self._map.values()):
            self.watch.changed(item)
            if hasattr(item, "channel_class"):
                item.channel_class = self._channel
                item.adj.socket_options = _SOCKET_OPTIONS
                self._pull = item.pull_trigger
                item.pull_trigger = functools.partial(self._wake, item.pull_trigger)
                if door is not None:
                    item.add_task = self._add_task
        self.tls = tls
        self._is_stopping = False
        found = getattr(self._server, "effective_listen", None)
        self.listening: list[tuple[str, int]] = found or [(self._server.effective_host, self._server.effective_port)]

    def run(self) -> None:
        """Serve until stop() or SystemExit."""
        self._loop_thread = threading.get_ident()
        look_at = 0.0
        try:
            while not self._is_stopping:
                began = time.monotonic()
                if began >= look_at:
                    look_at = began + _LOOK_AT_ALL_SECONDS
                    for item in list(self._map.values()):
                        self.watch.changed(item)
                self._look()
                self._is_woken = False
                self._begun_sizes.clear()
                while self._ready:
                    self._begin(self._ready.popleft())
                while not self._told.empty():
                    self._answer(*self._told.get())
                count = len(self._begun_sizes)
                if count > 1 and sum(self._begun_sizes) < _SMALL_BYTES * count:
                    time.sleep(max(0.0, began + _LOOK_SECONDS - time.monotonic()))
        except (SystemExit, KeyboardInterrupt):
            pass

    def stop(self) -> None:
        """Let run() return; from any thread."""
        self._is_stopping = True
        self._pull()

    def finish(self) -> None:
        """Let running requests finish, for some seconds, and close every connection; after run()."""
        until = time.monotonic() + _FINISH_SECONDS
        with contextlib.suppress(queue.Empty):
            while self._begun and (seconds := until - time.monotonic()) > 0:
                self._answer(*self._told.get(timeout=seconds))
        self._server.task_dispatcher.shutdown()
        for item in list(self._map.values()):
            with contextlib.suppress(OSError):
                item.handle_close() if isinstance(item, Channel) else item.close()  # and the files of large answers
        self.watch.close()

    def _look(self) -> None:
        """Wait for connections on which there is something to do, and do it."""
        for item, events in self.watch.wait(0.0 if self._ready else _WAIT_SECONDS):
            if item.accepting:
                for _ in range(_ACCEPTED_AT_ONCE):
                    if not (item.readable() and self._is_accepted(item)):
                        break
            elif events & selectors.EVENT_READ:
                if item.readable():
                    read(item)
                else:  # it sends more, or has gone, before it has its answer
                    self.watch.forget(item.fd)
            if events & selectors.EVENT_WRITE and self._map.get(item._fileno) is item:
                write(item)

    def _is_accepted(self, listening: Any) -> bool:
        self._has_accepted = False
        read(listening)
        return self._has_accepted

    def _add_task(self, channel: Channel) -> None:
        """Called where a channel has a request: its first in this thread, those behind in the thread that is done."""
        if threading.get_ident() == self._loop_thread:
            self._ready.append(channel)
        else:
            self._server.task_dispatcher.add_task(channel)

    def _begin(self, channel: Channel) -> None:
        assert self._door is not None
        self._begun += 1
        try:
            is_begun = channel.begin(self._door, self._tell)
        except Exception:  # it will happen again in a thread, which is where waitress logs and answers it
            is_begun = False
        if is_begun:
            self._begun_sizes.append(channel.requests[0].content_length)
        else:
            self._begun -= 1
            self._server.task_dispatcher.add_task(channel)

    def _tell(self, channel: Channel, answer: Answer) -> None:
        self._told.put((channel, answer))
        if threading.get_ident() != self._loop_thread and not self._is_woken:
            self._is_woken = True
            self._pull()

    def _answer(self, channel: Channel, answer: Answer) -> None:
        self._begun -= 1
        try:
            channel.answer(answer)
        except Exception:
            _logger.exception("an answer cannot be sent")
            channel.will_close = True
        self.watch.changed(channel)

    def _wake(self, pull: Callable[[], None]) -> None:
        """Wake the loop, unless the connection that this thread serves has no business with it."""
        channel = getattr(self.serving, "channel", None)
        if channel is None or channel.writable() or not self.watch.has(channel.fd):
            if channel is not None:
                self.watch.changed(channel)
            pull()

    def _channel(self, server: Any, connection: socket.socket, address: Any, adjustments: Any, map: Any) -> None:
        self._has_accepted = True
        if not self.peers.enter(address[0]):
            self.refused("connections")
            connection.close()
            return
        try:
            Channel(self, server, connection, address, adjustments, map)
        except OSError:  # it has gone already
            self.peers.leave(address[0])
            connection.close()


def _believing(proxy: str | None) -> dict[str, Any]:
    """Return waitress's settings for a trusted proxy: what it says last is true, the rest a client may have made up."""
    if proxy is None:
        return {}
    headers = {"x-forwarded-for", "x-forwarded-proto"}
    return {"trusted_proxy": proxy, "trusted_proxy_count": 1, "trusted_proxy_headers": headers}
