"""Who has which index, and when each was last heard: the leases of a coordinator's transport, without any I/O."""

from __future__ import annotations

from heflwr.automon.signals import Reason


class Roster:
    """Indices and the addresses that hold them.

    An address holds at most one index, and keeps it until its lease runs out or it says goodbye. Indices that nobody
    held yet have a lease, too: nodes that are expected and do not come are given up in the same way.

    Args:
        most_nodes: Indices are below, >= 1.
        lease_seconds: How long a node may be silent, > 0.
        now: The clock's present time.
    """

    def __init__(self, most_nodes: int, lease_seconds: float, now: float) -> None:
        if most_nodes < 1:
            raise ValueError(f"most_nodes must be >= 1, got {most_nodes}")
        if not lease_seconds > 0:
            raise ValueError(f"lease_seconds must be > 0, got {lease_seconds}")
        self._most_nodes = most_nodes
        self._lease_seconds = lease_seconds
        self._address: dict[int, bytes] = {}
        self._node: dict[bytes, int] = {}
        self._heard = dict.fromkeys(range(most_nodes), now)

    def hear(self, node: int, address: bytes, now: float) -> Reason | None:
        """Takes note that `address` spoke for a node; the first to do so holds the index. Returns why it may not."""
        if not 0 <= node < self._most_nodes:
            return Reason.TOO_LARGE
        holder = self._address.get(node)
        if holder not in (None, address):
            return Reason.TAKEN
        other = self._node.get(address)
        if other not in (None, node):
            return Reason.OTHER
        self._address[node], self._node[address], self._heard[node] = address, node, now
        return None

    def holds(self, node: int) -> bool:
        """Whether somebody has this index."""
        return node in self._address

    def address(self, node: int) -> bytes | None:
        """Where a node is; None if nobody has its index."""
        return self._address.get(node)

    def release(self, node: int) -> None:
        """Frees an index."""
        address = self._address.pop(node, None)
        if address is not None:
            del self._node[address]
        self._heard.pop(node, None)

    def expired(self, now: float) -> list[int]:
        """Frees and returns the indices whose lease has run out, each once."""
        over = [node for node, heard in self._heard.items() if now - heard > self._lease_seconds]
        for node in over:
            self.release(node)
        return over
