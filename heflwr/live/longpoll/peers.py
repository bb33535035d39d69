"""Who speaks to a long-poll listener: what waits for each, and whether anybody is there to take it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from heflwr.live.longpoll.bodies import ANSWER_BYTES, taken

ABSENT_SECONDS = 2.0
"""After its last request a peer without a waiting one is gone; between two that wait there is a round trip."""

MOST_PEERS = 10_000
"""Connections drawn by agents that are remembered at once."""

MOST_WAITING = 1000
"""Messages that may wait for one peer."""


class Peer:
    """One connection as its agent drew it, of however many requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outbox: deque[bytes] = deque()
        self.is_news = asyncio.Event()
        self.seen_at = 0.0
        self.turn = 0
        """Number of its latest request that waits: an older one is answered at once."""
        self.waiting = 0
        """Requests that wait."""


class Peers:
    """All of them by address; each method may be called from any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._peers: dict[bytes, Peer] = {}

    def met(self, address: bytes, name: str) -> Peer | None:
        """Return whom a request came from; None where there is no room."""
        with self._lock:
            now = self._clock()
            peer = self._peers.get(address)
            if peer is None:
                if len(self._peers) >= MOST_PEERS:
                    self._peers = {key: one for key, one in self._peers.items() if self._is_there(one, now)}
                if len(self._peers) >= MOST_PEERS:
                    return None
                peer = self._peers[address] = Peer(name)
            peer.seen_at = now
            return peer

    def begin_waiting(self, peer: Peer) -> int:
        """A request of the peer begins to wait; return its turn. An older one has an end."""
        with self._lock:
            peer.waiting += 1
            peer.turn += 1
            peer.is_news.set()
            return peer.turn

    def end_waiting(self, address: bytes, peer: Peer, *, is_gone: bool) -> list[bytes]:
        """It waits no more; return what is to be answered."""
        with self._lock:
            peer.waiting -= 1
            peer.seen_at = self._clock()
            if not is_gone:
                return taken(peer.outbox, ANSWER_BYTES)
            if not peer.waiting and self._peers.get(address) is peer:
                del self._peers[address]
            return []

    def taken(self, peer: Peer) -> list[bytes]:
        """Take out what waits for a peer."""
        with self._lock:
            return taken(peer.outbox, ANSWER_BYTES)

    def put(self, address: bytes, data: bytes) -> Peer | None:
        """Have a message wait for a peer; None where nobody is there, or takes nothing."""
        with self._lock:
            peer = self._peers.get(address)
            if peer is None:
                return None
            if not self._is_there(peer, self._clock()) or len(peer.outbox) >= MOST_WAITING:
                del self._peers[address]
                return None
            peer.outbox.append(data)
            return peer

    def _is_there(self, peer: Peer, now: float) -> bool:
        return peer.waiting > 0 or now - peer.seen_at < ABSENT_SECONDS
