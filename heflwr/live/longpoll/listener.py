"""The server that many agents post to: an event loop in a thread of its own, so that thousands may wait at once.

It is to a coordinator what the listener of ZeroMQ is. Whoever takes more time or bytes than an agent would is cut off.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.transports.zeromq.listener import Arrival
from heflwr.live.addresses import is_loopback
from heflwr.live.longpoll import requests
from heflwr.live.longpoll.bodies import joined, split
from heflwr.live.longpoll.peers import Peer, Peers
from heflwr.live.longpoll.requests import HEAD_BYTES, Refused, Request
from heflwr.live.longpoll.tokens import digest_of

START_SECONDS = 10.0
CLOSE_SECONDS = 1.0
TLS_SECONDS = 10.0
"""Longest handshake, and goodbye."""
MOST_CONNECTIONS = 10_000
MOST_ARRIVALS = 10_000
"""Messages that may wait for the coordinator; beyond, agents are told to come again."""
BACKLOG = 1024


class LongPollListener:
    """Takes posts from anybody, or with `name_of` from those whose token has a name.

    Args:
        host: Where to listen.
        port: Likewise; 0 takes a free one.
        context: Of TLS; None: none, which does on this machine, behind a proxy that has it.
        name_of: From a token's digest to a name; None: not let in.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        name_of: Callable[[str], str | None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._port, self._tls, self._name_of = host, port, context, name_of
        self._peers = Peers(clock)
        self._arrivals: deque[Arrival | None] = deque()
        self._news = threading.Condition()
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None
        self.refused_handshakes = 0
        """Requests without a token that is known."""

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: Nobody can listen there.
        """
        is_ready = threading.Event()
        self._failure = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(is_ready)), name="heflwr-live-http", daemon=True
        )
        self._thread.start()
        is_ready.wait(START_SECONDS)
        if self._failure is not None:
            self._thread.join()
            self._thread = None
            raise self._failure

    def close(self) -> None:
        """Stops listening; does nothing the second time."""
        if self._thread is None:
            return
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._is_over.set)
        self._thread.join()
        self._thread = None

    @property
    def address(self) -> str:
        """Where it listens, with the port it got."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self._bound}"

    def receive(self, timeout_seconds: float, most: int) -> Iterator[Arrival | None]:
        """Waits for messages, for so long at most, and yields them; None for what was none.

        Args:
            timeout_seconds: >= 0.
            most: Messages at most.
        """
        with self._news:
            self._news.wait_for(lambda: bool(self._arrivals), timeout_seconds)
            found = [self._arrivals.popleft() for _ in range(min(most, len(self._arrivals)))]
        yield from found

    def send(self, address: bytes, data: bytes) -> bool:
        """Has a message wait for whoever is at that address; False where nobody is any more, or takes nothing."""
        peer = self._peers.put(address, data)
        if peer is None:
            return False
        try:
            self._loop.call_soon_threadsafe(peer.is_news.set)
        except RuntimeError:  # the loop has ended
            return False
        return True

    # In the loop's thread

    async def _serve(self, is_ready: threading.Event) -> None:
        self._loop, self._is_over = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(
                self._connected,
                self._host,
                self._port,
                limit=HEAD_BYTES,
                ssl=self._tls,
                backlog=BACKLOG,
                **(
                    {}
                    if self._tls is None
                    else dict.fromkeys(("ssl_handshake_timeout", "ssl_shutdown_timeout"), TLS_SECONDS)
                ),
            )
        except OSError as error:
            self._failure = error
            is_ready.set()
            return
        self._bound = server.sockets[0].getsockname()[1]
        is_ready.set()
        await self._is_over.wait()
        for listening in server.sockets:  # asyncio loses a connection that is just being accepted when a server closes
            self._loop.remove_reader(listening.fileno())
        left = dict(self._connections)
        for writer, task in left.items():
            task.cancel()
            writer.transport.abort()
        if accepted := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(accepted, timeout=CLOSE_SECONDS)
        server.close()
        await asyncio.gather(*(writer.wait_closed() for writer in left), return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_over.is_set() or len(self._connections) >= MOST_CONNECTIONS:
            writer.transport.abort()
        else:
            self._connections[writer] = asyncio.ensure_future(self._speak(reader, writer))

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first request to its last."""
        try:
            while True:
                if (request := await requests.read(reader)) is None:
                    return
                body = await self._answer(request, reader)
                if body is None:
                    return
                await _write(writer, "200 OK", body)
        except Refused as refused:
            with suppress(OSError):
                await _write(writer, refused.status, f"{refused}\n".encode(), is_last=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            try:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()  # TLS says goodbye, too
            finally:
                self._connections.pop(writer, None)

    async def _answer(self, request: Request, reader: asyncio.StreamReader) -> bytes | None:
        """Return the answer's body; None where nobody waits for it any longer. Raises Refused."""
        name = ""
        if self._name_of is not None:
            known = self._name_of(digest_of(request.token)) if request.token else None
            if known is None:
                self.refused_handshakes += 1
                raise Refused("401 Unauthorized", "this token is not known")
            name = known
        elif request.host and not is_loopback(request.host):  # a web page whose name was made to lead here
            raise Refused("403 Forbidden", "without keys, call this machine localhost or 127.0.0.1")
        address = name.encode() + b"/" + request.connection
        peer = self._peers.met(address, name)
        if peer is None or not self._arrived(address, name, request.body):
            raise Refused("503 Service Unavailable", "too much is going on; come again")
        if request.wait_seconds == 0:
            return joined(self._peers.taken(peer))
        turn = self._peers.begin_waiting(peer)
        is_gone = True
        try:
            is_gone = await _is_gone_before_news(peer, turn, request.wait_seconds, reader)
        finally:
            messages = self._peers.end_waiting(address, peer, is_gone=is_gone)
        return None if is_gone else joined(messages)

    def _arrived(self, address: bytes, name: str, body: bytes) -> bool:
        try:
            messages: list[bytes | None] = [*split(body)]
        except MalformedMessage:
            messages = [None]
        with self._news:
            if len(self._arrivals) + len(messages) > MOST_ARRIVALS:
                return False
            self._arrivals += [None if data is None else Arrival(address, name, data) for data in messages]
            self._news.notify()
        return True


async def _is_gone_before_news(peer: Peer, turn: int, seconds: float, reader: asyncio.StreamReader) -> bool:
    """Wait until there is something for a peer, a later request of it waits, or the time is up; True where it left."""
    until = asyncio.get_running_loop().time() + seconds
    left = asyncio.ensure_future(reader.read(1))  # an agent says nothing while it waits: this is its end
    try:
        while not peer.outbox and peer.turn == turn:
            peer.is_news.clear()
            news = asyncio.ensure_future(peer.is_news.wait())
            remaining = until - asyncio.get_running_loop().time()
            try:
                done, _ = await asyncio.wait((left, news), timeout=remaining, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            if left in done:
                return True
            if not done:
                return False
        return False
    finally:
        left.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await left


async def _write(writer: asyncio.StreamWriter, status: str, body: bytes, *, is_last: bool = False) -> None:
    kind = "text/plain" if is_last else "application/octet-stream"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
    writer.write(f"{head}{'Connection: close' if is_last else 'Connection: keep-alive'}\r\n\r\n".encode() + body)
    await asyncio.wait_for(writer.drain(), requests.BODY_SECONDS)
