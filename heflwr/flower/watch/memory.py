"""What a node remembers from one message to the next, as the bytes that its state holds, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.protocols.pull.node import Memory
from heflwr.automon.wire import Reader, count_bytes, float_bytes, floats_bytes
from heflwr.flower.watch import wire

VECTORS = ("anchor", "last", "mean")
"""Fields of a memory that are vectors, in their order."""

HAS_ZONE = 1 << len(VECTORS)
"""Mark of a zone; below it one a vector."""


@dataclass(frozen=True, eq=False)
class Kept:
    """All that a node remembers.

    Attributes:
        calls: That it was asked about so far, those included that were left out.
        stamp: Of its latest reply; later ones have larger stamps.
        functions: One a watched function.
    """

    calls: int
    stamp: int
    functions: tuple[Memory, ...]


def to_bytes(fingerprint: bytes, kept: Kept) -> bytes:
    """Return all of it.

    Args:
        fingerprint: Of the list of functions.
        kept: What is to be remembered.
    """
    counts = count_bytes(kept.calls) + count_bytes(kept.stamp)
    return wire.head(wire.MEMORY, fingerprint) + counts + b"".join(map(_memory_bytes, kept.functions))


def from_bytes(data: bytes, fingerprint: bytes, dims: Sequence[int]) -> Kept:
    """Return what `to_bytes` got.

    Raises:
        MalformedMessage: It is something else, or of another list of functions.
    """
    found, reader = wire.begin(data, wire.MEMORY)
    if found != fingerprint:
        raise MalformedMessage("a memory of another list of functions")
    calls, stamp = reader.count("the number of calls"), reader.count("a stamp")
    functions = tuple(_read_memory(reader, dim) for dim in dims)
    reader.end()
    return Kept(calls, stamp, functions)


def _memory_bytes(memory: Memory) -> bytes:
    vectors = [getattr(memory, name) for name in VECTORS]
    marks = HAS_ZONE * (memory.zone is not None) + sum(1 << at for at, one in enumerate(vectors) if one is not None)
    parts = [count_bytes(count) for count in (memory.session, memory.calls, memory.sequence, memory.version)]
    parts += [bytes([marks]), *map(float_bytes, memory.misses)]
    parts += [floats_bytes(vector) for vector in vectors if vector is not None]
    parts += [wire.zone_bytes(memory.zone)] if memory.zone is not None else []
    return b"".join(parts)


def _read_memory(reader: Reader, dim: int) -> Memory:
    session, calls, sequence, version = (reader.count(name) for name in wire.COUNTS)
    marks = reader.byte("a memory's marks")
    if marks >= 2 * HAS_ZONE or session == 0:
        raise MalformedMessage(f"no node remembers the session {session} and the marks {marks:b}")
    misses = reader.float("the misses"), reader.float("the misses")
    vectors = {name: reader.floats((dim,), name) for at, name in enumerate(VECTORS) if marks >> at & 1}
    zone = wire.read_zone(reader, dim) if marks & HAS_ZONE else None
    return Memory(session, calls, sequence, version, zone, misses=misses, **vectors)
