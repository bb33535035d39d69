"""The server that many agents post to: an event loop in a thread of its own, so that thousands may wait at once.

It is to a coordinator what the listener of ZeroMQ is. Whoever takes more time or bytes than an agent would is cut off.
"""

from __future__ import annotations

import asyncio
import socket
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
from heflwr.live.longpoll.bodies import CONTENT_TYPE, joined, split
from heflwr.live.longpoll.connections import Connections
from heflwr.live.longpoll.peers import Peer, Peers
from heflwr.live.longpoll.requests import Refused, Request
from heflwr.live.longpoll.tokens import digest_of

START_SECONDS = 10.0
MOST_ARRIVALS, MOST_ARRIVED_BYTES = 10_000, 1 << 27
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
        self._arrived_bytes = 0
        self._thread: threading.Thread | None = None
        self.refused_handshakes = 0
        """Requests without a token that is known."""

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: Nobody can listen there.
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._listening = socket.create_server((self._host, self._port), family=family, backlog=BACKLOG)
        except UnicodeError as error:
            raise OSError(f"{self._host!r} is no name of a machine") from error
        self._listening.setblocking(False)
        self._bound = self._listening.getsockname()[1]
        is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(is_ready,), name="heflwr-live-http", daemon=True)
        self._thread.start()
        is_ready.wait(START_SECONDS)

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
            self._arrived_bytes -= sum(0 if arrival is None else len(arrival.data) for arrival in found)
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

    def _run(self, is_ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # that of Windows knows no add_reader
            runner.run(self._serve(is_ready))

    async def _serve(self, is_ready: threading.Event) -> None:
        self._loop, self._is_over = asyncio.get_running_loop(), asyncio.Event()
        self._connections = Connections(self._listening, self._tls, self._speak)
        self._connections.open()
        is_ready.set()
        await self._is_over.wait()
        await self._connections.close()

    async def _speak(
        self, connection: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer requests until there is none any more."""
        seconds = requests.FIRST_SECONDS
        try:
            while (request := await requests.read_head(reader, seconds)) is not None:
                name = self._name(request)
                self._connections.is_known(connection)
                seconds = requests.HEAD_SECONDS
                body = await requests.read_body(reader, request.length)
                answer = await self._answer(name, request, body, reader)
                if answer is None:
                    return
                await _write(writer, "200 OK", answer)
        except Refused as refused:
            await _write(writer, refused.status, f"{refused}\n".encode(), is_last=True)

    def _name(self, request: Request) -> str:
        """Return whose request it is; "" where there are no keys. Raises Refused."""
        if self._name_of is not None:
            name = self._name_of(digest_of(request.token)) if request.token else None
            if name is None:
                self.refused_handshakes += 1
                raise Refused("401 Unauthorized", "this token is not known")
            return name
        if request.host and not is_loopback(request.host):  # a web page whose name was made to lead here
            raise Refused("403 Forbidden", "without keys, call this machine localhost or 127.0.0.1")
        return ""

    async def _answer(self, name: str, request: Request, body: bytes, reader: asyncio.StreamReader) -> bytes | None:
        """Return the answer's body; None where nobody waits for it any longer. Raises Refused."""
        address = name.encode() + b"/" + request.connection
        peer = self._peers.met(address, name)
        if peer is None or not self._arrived(address, name, body):
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
            arrived_bytes = self._arrived_bytes + len(body)
            if len(self._arrivals) + len(messages) > MOST_ARRIVALS or arrived_bytes > MOST_ARRIVED_BYTES:
                return False
            self._arrived_bytes += sum(map(len, filter(None, messages)))
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
    kind = "text/plain" if is_last else CONTENT_TYPE
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
    writer.write(f"{head}{'Connection: close' if is_last else 'Connection: keep-alive'}\r\n\r\n".encode() + body)
    await asyncio.wait_for(writer.drain(), requests.BODY_SECONDS)
