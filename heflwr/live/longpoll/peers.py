"""Who speaks to a long-poll listener: what waits for each, and whether anybody is there to take it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Collection

from heflwr.live.longpoll.bodies import ANSWER_BYTES, MOST_MESSAGES, taken

ABSENT_SECONDS = 2.0
"""After its last request a peer without a waiting one is gone; between two that wait there is a round trip."""

MOST_PEERS = 10_000
"""Connections drawn by agents that are remembered at once."""

MOST_OF_ONE = 16
"""Likewise of one agent that has a name: one that draws a new one all the time takes nobody else's place."""


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
        self._of_name: dict[str, set[bytes]] = {}

    def met(self, address: bytes, name: str) -> Peer | None:
        """Return whom a request came from; None where there is no room."""
        with self._lock:
            now = self._clock()
            peer = self._peers.get(address)
            if peer is None:
                if not self._has_room(self._peers, MOST_PEERS, now):
                    return None
                if name and not self._has_room(self._of_name.get(name, ()), MOST_OF_ONE, now):
                    return None
                peer = self._peers[address] = Peer(name)
                self._of_name.setdefault(name, set()).add(address)
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
                self._forget(address)
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
            if not self._is_there(peer, self._clock()) or len(peer.outbox) >= MOST_MESSAGES:
                self._forget(address)
                return None
            peer.outbox.append(data)
            return peer

    def _is_there(self, peer: Peer, now: float) -> bool:
        return peer.waiting > 0 or now - peer.seen_at < ABSENT_SECONDS

    def _has_room(self, addresses: Collection[bytes], most: int, now: float) -> bool:
        """Whether there are fewer than so many, once those that are gone are forgotten."""
        if len(addresses) < most:
            return True
        gone = [address for address in addresses if not self._is_there(self._peers[address], now)]
        for address in gone:
            self._forget(address)
        return bool(gone)

    def _forget(self, address: bytes) -> None:
        name = self._peers.pop(address).name
        self._of_name[name].discard(address)
        if not self._of_name[name]:
            del self._of_name[name]
