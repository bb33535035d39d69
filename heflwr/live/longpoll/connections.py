"""The connections of a listener: each with its handshake, its conversation and its end, and a bound on all of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

from heflwr.live.longpoll.requests import HEAD_BYTES

TLS_SECONDS = 10.0
"""Longest handshake, and goodbye."""

MOST_CONNECTIONS = 10_000
"""And half of the files that the process may open: it has other things to do."""

AGAIN_SECONDS = 0.2
"""Rest after a connection that could not be taken: it will still be there."""

CLOSE_SECONDS = 1.0

Speak = Callable[[socket.socket, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""One conversation. Raises OSError or asyncio.IncompleteReadError where the connection broke off."""


class Connections:
    """Takes connections; where there are too many, one more takes the place of the oldest that nobody knows yet.

    Made, and only spoken to, in a running loop.

    Args:
        listening: Not blocking; closed with the connections.
        tls: None: none.
        speak: What is done with each.
    """

    def __init__(self, listening: socket.socket, tls: ssl.SSLContext | None, speak: Speak) -> None:
        self._listening, self._tls, self._speak = listening, tls, speak
        self._loop = asyncio.get_running_loop()
        self._most = _most_connections()
        self._tasks: dict[socket.socket, asyncio.Task[None]] = {}
        self._strangers: dict[socket.socket, None] = {}  # a set that knows who came first
        self._is_over = False

    def open(self) -> None:
        """Listen."""
        if not self._is_over:
            self._loop.add_reader(self._listening, self._accept)

    async def close(self) -> None:
        """Cut all of them off, and free the port, also where a forked child holds them open."""
        self._is_over = True
        self._loop.remove_reader(self._listening)
        left = dict(self._tasks)
        for handle in (self._listening, *left):
            _cut(handle)
        self._listening.close()
        for task in left.values():
            task.cancel()
        if left:
            await asyncio.wait(left.values(), timeout=CLOSE_SECONDS)
        for connection in left:
            connection.close()  # of a task that had not begun, too

    def is_known(self, connection: socket.socket) -> None:
        """Whoever speaks there may stay."""
        self._strangers.pop(connection, None)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionError):  # whoever knocked has left
            return
        except OSError:  # no file descriptor is left
            self._loop.remove_reader(self._listening)
            self._loop.call_later(AGAIN_SECONDS, self.open)
            return
        connection.setblocking(False)
        if len(self._tasks) >= self._most:
            if not self._strangers:
                connection.close()
                return
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            _cut(oldest)
        self._strangers[connection] = None
        self._tasks[connection] = asyncio.ensure_future(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        """One connection, from its handshake to its end."""
        reader = asyncio.StreamReader(HEAD_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        times = (
            {} if self._tls is None else dict.fromkeys(("ssl_handshake_timeout", "ssl_shutdown_timeout"), TLS_SECONDS)
        )
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, **times
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            try:
                await self._speak(connection, reader, writer)
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), TLS_SECONDS)  # what is written goes out; TLS says goodbye
            finally:
                transport.abort()
        except (OSError, asyncio.IncompleteReadError):  # it left, was too slow, or speaks no TLS
            pass
        finally:
            connection.close()
            self._strangers.pop(connection, None)
            self._tasks.pop(connection, None)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _most_connections() -> int:
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(MOST_CONNECTIONS, files // 2))
