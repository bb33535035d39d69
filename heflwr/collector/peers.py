"""Who holds how many connections: one address cannot take up the room of all others."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter

SHARE = 0.75
"""Of all connections those that one address may hold: a thousand clients on one machine are not too many."""

_NETWORK_BITS = 64
"""Of an IPv6 address: what one subscriber has at least."""


class Peers:
    """Counts connections by address; any thread may call.

    Args:
        most: Connections there may be.
        proxy: An address that stands for many, and is not counted; None for none.
    """

    def __init__(self, most: int, proxy: str | None) -> None:
        self._most = max(1, int(most * SHARE))
        self._proxy = proxy
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    def enter(self, host: str) -> bool:
        """Return whether the address may hold one more connection, and count it if so."""
        if host == self._proxy:
            return True
        name = _name(host)
        with self._lock:
            if self._held[name] >= self._most:
                return False
            self._held[name] += 1
        return True

    def leave(self, host: str) -> None:
        """Say that one has ended that enter() let in."""
        if host == self._proxy:
            return
        name = _name(host)
        with self._lock:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]

    @property
    def held(self) -> int:
        """How many there are, without the proxy's."""
        with self._lock:
            return self._held.total()


def _name(host: str) -> str:
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _NETWORK_BITS), strict=False))
