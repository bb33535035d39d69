"""The agent's side of the long poll: one thread waits for messages all the time, another one posts.

It is to an agent what the dialer of ZeroMQ is: it connects again for ever, and what cannot be sent now is dropped.
"""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.transports.zeromq.handshake import Handshake
from heflwr.live.longpoll.bodies import (
    CONNECTION,
    CONTENT_TYPE,
    MOST_MESSAGES,
    REQUEST_BYTES,
    WAIT_SECONDS,
    joined,
    split,
    taken,
)
from heflwr.live.longpoll.client import Client

AGAIN_SECONDS = 0.5
"""Between two tries while the coordinator is away, or answers at once though there is nothing to say."""

CLOSE_SECONDS = 1.0
"""How long the end may take: a goodbye is posted meanwhile."""


class LongPollDialer:
    """Posts to a listener, and posts again, for ever.

    Args:
        host: Of the listener.
        port: Likewise.
        context: Of TLS; None: none.
        token: That the listener knows this side by; "": none.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, token: str) -> None:
        self._where = host, port, context
        self._headers = {"Content-Type": CONTENT_TYPE}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._news = threading.Condition()  # of all that follows
        self._unsent: deque[bytes] = deque()
        self._inbox: deque[bytes | None] = deque(maxlen=MOST_MESSAGES)
        self._is_connected = False
        self._over = threading.Event()
        self._over.set()
        self._threads: list[threading.Thread] = []
        self._clients: list[Client] = []
        self.handshake = Handshake.OPEN
        """What became of the latest try to connect."""
        self.connections = 0
        """How often it was connected."""

    def open(self) -> None:
        """Begins to connect; does not wait."""
        self._over, self._is_connected, self.handshake = threading.Event(), False, Handshake.OPEN
        self._unsent.clear()
        headers = self._headers | {CONNECTION: secrets.token_hex(16)}
        self._clients = [Client(*self._where, headers) for _ in range(2)]
        self._threads = [
            threading.Thread(target=work, args=(client, self._over), name=f"heflwr-live-{what}", daemon=True)
            for what, work, client in zip(("poll", "post"), (self._poll, self._post), self._clients, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Posts what is left, for CLOSE_SECONDS at most, and disconnects; does nothing the second time."""
        if self._over.is_set():
            return
        with self._news:
            self._over.set()
            self._news.notify_all()
        self._threads[1].join(CLOSE_SECONDS)
        for client in self._clients:
            client.break_off()
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)

    def reopen(self) -> None:
        """Connects anew."""
        self.close()
        self.open()

    def receive(self, timeout_seconds: float) -> Iterator[bytes | None]:
        """Waits for messages, for so long at most, and yields them; None for what was none."""
        with self._news:
            self._news.wait_for(lambda: bool(self._inbox), timeout_seconds)
            found = [self._inbox.popleft() for _ in range(len(self._inbox))]
        yield from found

    def send(self, data: bytes) -> bool:
        """Has a message posted; returns False where there is no connection."""
        with self._news:
            if not self._is_connected or len(self._unsent) >= MOST_MESSAGES:
                return False
            self._unsent.append(data)
            self._news.notify_all()
        return True

    def _poll(self, client: Client, over: threading.Event) -> None:
        """Have a request wait all the time; the first one comes back at once, and says whether anybody is there."""
        wait_seconds = 0.0
        while not over.is_set():
            began = time.monotonic()
            outcome, body = client.exchange(b"", wait_seconds)
            is_answered = outcome is Handshake.DONE
            is_heard = self._took(body) and bool(body)
            is_early = not is_heard and time.monotonic() - began < wait_seconds / 2  # somebody else answers
            wait_seconds = WAIT_SECONDS if is_answered else 0.0
            with self._news:
                if over.is_set():  # closed meanwhile, and perhaps open again
                    break
                self.connections += is_answered and not self._is_connected
                self.handshake, self._is_connected = outcome, is_answered
                if not is_answered:
                    self._unsent.clear()
                if not is_answered or is_early:
                    self._news.wait_for(over.is_set, AGAIN_SECONDS)
        client.close()

    def _post(self, client: Client, over: threading.Event) -> None:
        """Post what there is to say, as soon as there is something; at the end what is left."""
        while True:
            with self._news:
                self._news.wait_for(lambda: over.is_set() or bool(self._unsent))
                messages = taken(self._unsent, REQUEST_BYTES)
            if not messages:
                break
            outcome, body = client.exchange(joined(messages), 0.0)
            self._took(body)
            with self._news:
                if outcome in (Handshake.UNKNOWN_KEY, Handshake.BROKEN_OFF) and not over.is_set():
                    self.handshake, self._is_connected = outcome, False  # the other thread still waits for its answer
        client.close()

    def _took(self, body: bytes) -> bool:
        """Take in an answer's body; return whether it is one."""
        try:
            messages: list[bytes | None] = [*split(body)]
        except MalformedMessage:
            messages = [None]
        with self._news:
            self._inbox += messages
            self._news.notify_all()
        return None not in messages
