"""Who takes part: identifiers, their indices in the protocols, their addresses and their leases. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from heflwr.live.frames import Reason

BEATS_IN_LEASE = 4
"""An agent speaks so often in a lease: three heartbeats may be lost."""

QUIET_BEATS = 2.5
"""From here on silence says nothing: two heartbeats have been missed."""


@dataclass
class Seat:
    """One agent's place."""

    identifier: str
    index: int
    address: bytes | None = None
    """None: it is not here."""
    heard_at: float = -math.inf
    updates: dict[int, int] = field(default_factory=dict)
    """By function, how many local vectors it has had since it came."""


class Registry:
    """Seats, each with an index that nobody else has; one that is free for long may be given to another agent.

    | event | seat |
    | --- | --- |
    | hello of a new identifier | the lowest index that nobody had; where all were had, that of the longest gone |
    | hello of one that is gone, or of before a restart | its own again |
    | hello of one that is here, from elsewhere | refused: TAKEN |
    | silence for longer than the lease, or a goodbye | kept, without an address |

    Args:
        most: Seats, >= 1.
        expected: Indices below are waited for at the start.
        lease_seconds: How long an agent may be silent, > 0.
    """

    def __init__(self, most: int, expected: int, lease_seconds: float) -> None:
        if not 1 <= expected <= most:
            raise ValueError(f"agents must be from 1 to {most}, got {expected}")
        if not 0 < lease_seconds < math.inf:
            raise ValueError(f"lease_seconds must be > 0, got {lease_seconds}")
        self._most, self._lease_seconds = most, lease_seconds
        self._seats: dict[str, Seat] = {}
        self._at: dict[bytes, Seat] = {}
        self._addresses: dict[int, bytes] = {}
        self._awaited = set(range(expected))
        self._awaited_until = math.inf

    @property
    def heartbeat_seconds(self) -> float:
        """How often agents are to speak."""
        return self._lease_seconds / BEATS_IN_LEASE

    @property
    def indices(self) -> dict[str, int]:
        """The index of each identifier, for a checkpoint."""
        return {name: seat.index for name, seat in self._seats.items()}

    def restore(self, indices: Mapping[str, int], now: float) -> None:
        """Takes up the seats of before; all are waited for, for one lease."""
        self._seats = {name: Seat(name, index) for name, index in indices.items()}
        self._awaited = set(indices.values())
        self._awaited_until = now + self._lease_seconds

    def holder(self, identifier: str) -> bytes | None:
        """Return the address that an identifier speaks from; None: it is not here."""
        seat = self._seats.get(identifier)
        return None if seat is None else seat.address

    def at(self, address: bytes) -> Seat | None:
        """Return whose address it is."""
        return self._at.get(address)

    def address(self, index: int) -> bytes | None:
        """Return where to send what is for an index."""
        return self._addresses.get(index)

    def hello(self, identifier: str, address: bytes, now: float) -> Seat | Reason:
        """Give an agent its seat, or say why not."""
        here = self._at.get(address)
        if here is not None:
            return here if here.identifier == identifier else Reason.NAME
        seat = self._seats.get(identifier)
        if seat is not None and seat.address is not None:
            return Reason.TAKEN
        if seat is None:
            index = self._free()
            if index is None:
                return Reason.FULL
            seat = self._seats[identifier] = Seat(identifier, index)
        if self._awaited_until == math.inf:
            self._awaited_until = now + self._lease_seconds
        self._awaited.discard(seat.index)
        seat.address, seat.heard_at = address, now
        seat.updates = {}
        self._at[address], self._addresses[seat.index] = seat, address
        return seat

    def leave(self, seat: Seat) -> None:
        """Take note that an agent is gone."""
        if seat.address is not None:
            del self._at[seat.address], self._addresses[seat.index]
            seat.address = None

    def expired(self, now: float) -> list[int]:
        """Return the indices whose lease has run out, each once: of the silent, and of those that never came."""
        silent = [seat for seat in self._at.values() if now - seat.heard_at > self._lease_seconds]
        for seat in silent:
            self.leave(seat)
        missing: set[int] = set()
        if now > self._awaited_until:
            missing, self._awaited = self._awaited, set()
        return [*(seat.index for seat in silent), *sorted(missing)]

    def quiet(self, now: float) -> list[str]:
        """Return who is here and has missed heartbeats."""
        longest = QUIET_BEATS * self.heartbeat_seconds
        return [seat.identifier for seat in self._at.values() if now - seat.heard_at > longest]

    def _free(self) -> int | None:
        taken = {seat.index for seat in self._seats.values()}
        if len(taken) < self._most:
            return next(index for index in range(self._most) if index not in taken)
        gone = [seat for seat in self._seats.values() if seat.address is None and seat.index not in self._awaited]
        if not gone:
            return None
        longest = min(gone, key=lambda seat: seat.heard_at)
        del self._seats[longest.identifier]
        return longest.index
