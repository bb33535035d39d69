"""Messages as bytes, and back.

    magic     2 bytes
    what      1 byte: the format's version (high half) and the kind of message (low half)
    fields    in the order of the message's dataclass: counts of one to nine bytes; a vector is its size, then float64

A constraint is its version, a byte (the zone's tag and how the slack travels), the zone (see `zone_format`), the slack.
The version of a constraint is one count where no lazy sync followed its full sync, else two. All is little-endian.
Sizes are checked against the bytes at hand before anything is made of them, and nothing but numbers ever is.

A full sync gives every node the slack x - x0, where x is the vector that the node itself sent. Such a slack travels as
the checksum of x, 4 bytes; the node knows the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from zlib import crc32

import numpy as np

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import (
    LAZY_BITS,
    Constraint,
    Message,
    Report,
    Request,
    Slack,
    Vector,
    Violation,
    ViolationKind,
)
from heflwr.automon.signals import Goodbye, Heartbeat, Reason, Refusal, Signal, Welcome
from heflwr.automon.wire import MOST, Reader, count_bytes, count_size, floats_bytes
from heflwr.automon.zone_format import dimension, read_zone, tag_of, zone_bytes, zone_size
from heflwr.automon.zones.zone import Floats, Zone

MAGIC = b"\xa7M"
FORMAT = 1
"""Raised with every change of what the bytes mean, at most 15."""

KINDS: dict[int, type[Any]] = {
    1: Violation,
    2: Request,
    3: Vector,
    4: Constraint,
    5: Slack,
    6: Report,
    8: Heartbeat,
    9: Goodbye,
    10: Welcome,
    11: Refusal,
}
"""What travels, by number, 1 to 15; a number is never given to another kind."""

MOST_BYTES = 1 << 25
"""Longer messages are not looked at: a constant Hessian of 2,000 x 2,000 fits."""

WITHOUT, WHOLE, ANCHORED = range(3)
"""How a constraint's slack travels."""

_FIELDS = {kind: [(field.name, str(field.type)) for field in fields(kind)] for kind in KINDS.values()}
_NUMBERS = {kind: number for number, kind in KINDS.items()}
_ENUMS: dict[str, Any] = {"ViolationKind": ViolationKind, "Reason": Reason}


def checksum(vector: Floats) -> int:
    """Return what a slack is anchored to: the CRC-32 of a vector's bytes."""
    return crc32(floats_bytes(vector))


def encode(message: Message | Signal, known: Floats | None = None) -> bytes:
    """Return a message as bytes.

    Args:
        message: Any that a protocol or a transport sends; its vectors are finite.
        known: The receiver's vector as it last sent it, shape (d,): a slack that follows from it is left out.

    Raises:
        ValueError: A vector is not finite, or a count is negative or too large.
        TypeError: This kind of message, or its zone, does not travel.
    """
    what = _NUMBERS.get(type(message))
    if what is None:
        raise TypeError(f"a {type(message).__name__} cannot travel: it has no number in KINDS")
    parts = [MAGIC, bytes([FORMAT << 4 | what])]
    if isinstance(message, Constraint):
        zone, slack = message.zone, message.slack
        way = WITHOUT if slack is None else ANCHORED if _is_anchored(zone, slack, known) else WHOLE
        parts += [_version_bytes(message.version), bytes([way << 6 | tag_of(zone)]), zone_bytes(zone)]
        if way == ANCHORED:
            assert known is not None
            parts.append(checksum(known).to_bytes(4, "little"))
        elif slack is not None:
            parts.append(_vector_bytes(slack))
        return b"".join(parts)
    for field in fields(message):
        value = getattr(message, field.name)
        if field.name == "version":
            parts.append(_version_bytes(value))
        elif field.type == "Floats":
            parts.append(_vector_bytes(value))
        else:
            parts.append(count_bytes(int(value)))
    return b"".join(parts)


def payload_bytes(message: Message | Signal, known: Floats | None = None) -> int:
    """Return how many bytes `encode` makes of the same arguments, without making them."""
    size = len(MAGIC) + 1
    if isinstance(message, Constraint):
        zone, slack = message.zone, message.slack
        size += _version_size(message.version) + 1 + zone_size(zone)
        return size + (0 if slack is None else 4 if _is_anchored(zone, slack, known) else _vector_size(slack))
    for name, kind in _FIELDS[type(message)]:
        value = getattr(message, name)
        if name == "version":
            size += _version_size(value)
        else:
            size += _vector_size(value) if kind == "Floats" else count_size(value)
    return size


def decode(data: bytes, sent: Mapping[int, Floats] | None = None) -> Message | Signal:
    """Return the message that bytes stand for.

    Args:
        data: What arrived, whole.
        sent: The vectors that the receiver sent lately, by `checksum`; slacks are anchored to them.

    Raises:
        MalformedMessage: It is none, of another format, cut, too long, or says sizes that it does not have.
    """
    if len(data) > MOST_BYTES:
        raise MalformedMessage(f"a message has at most {MOST_BYTES} bytes, got {len(data)}")
    reader = Reader(data)
    magic = reader.take(len(MAGIC), "the magic")
    if magic != MAGIC:
        raise MalformedMessage(f"a message begins with {MAGIC!r}, got {magic!r}")
    what = reader.byte("the kind")
    if what >> 4 != FORMAT:
        raise MalformedMessage(f"a message of format {what >> 4} arrived, this program reads {FORMAT}")
    kind = KINDS.get(what & 0xF)
    if kind is None:
        raise MalformedMessage(f"there is no message of kind {what & 0xF}")
    message: Message | Signal = _read_constraint(reader, sent or {}) if kind is Constraint else _read(kind, reader)
    reader.end()
    return message


def _read(kind: type[Any], reader: Reader) -> Any:
    values: dict[str, Any] = {}
    for field in fields(kind):
        what = f"{kind.__name__}'s {field.name}"
        if field.name == "version":
            values[field.name] = _read_version(reader)
        elif field.type == "Floats":
            values[field.name] = _read_vector(reader, what)
        else:
            number = reader.count(what)
            values[field.name] = number if field.type == "int" else _member(str(field.type), number, what)
    return kind(**values)


def _read_constraint(reader: Reader, sent: Mapping[int, Floats]) -> Constraint:
    number, head = _read_version(reader), reader.byte("the zone's tag")
    zone, way = read_zone(head & 0x3F, reader), head >> 6
    if way == WITHOUT:
        return Constraint(number, zone, None)
    dim = dimension(zone)
    if way == WHOLE:
        slack = _read_vector(reader, "the slack")
        if dim not in (None, slack.size):
            raise MalformedMessage(f"the slack has {slack.size} numbers, its zone's dimension is {dim}")
        return Constraint(number, zone, slack)
    reference = getattr(zone, "reference", None)
    if way != ANCHORED or reference is None:
        raise MalformedMessage(f"a {type(zone).__name__} has no slack of kind {way}")
    vector = sent.get(int.from_bytes(reader.take(4, "the slack's anchor"), "little"))
    if vector is None or vector.shape != (dim,):
        raise MalformedMessage("the slack is anchored to a vector that was not sent from here")
    return Constraint(number, zone, vector - reference)


def _read_vector(reader: Reader, what: str) -> Floats:
    size = reader.count(f"the size of {what}")
    if not size:
        raise MalformedMessage(f"{what} is empty")
    return reader.floats((size,), what)


def _member(name: str, number: int, what: str) -> Any:
    try:
        return _ENUMS[name](number)
    except ValueError as error:
        raise MalformedMessage(f"{what} cannot be {number}") from error


def _vector_bytes(vector: Floats) -> bytes:
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise ValueError(f"a vector that travels must be finite, of shape (d,), got {vector}")
    return count_bytes(vector.size) + floats_bytes(vector)


def _vector_size(vector: Floats) -> int:
    return count_size(vector.size) + 8 * vector.size


def _is_anchored(zone: Zone, slack: Floats | None, vector: Floats | None) -> bool:
    """Return whether the slack is exactly `vector` minus the zone's reference point."""
    reference = getattr(zone, "reference", None)
    if slack is None or vector is None or reference is None or vector.shape != slack.shape:
        return False
    return bool(np.array_equal(slack, vector - reference))


def _split(number: int) -> tuple[int, int]:
    """Return a version's generation, doubled and odd if lazy syncs follow, and their count."""
    lazy = number & ((1 << LAZY_BITS) - 1)
    return number >> LAZY_BITS << 1 | (lazy > 0), lazy


def _version_bytes(number: int) -> bytes:
    if not 0 <= number < MOST:
        raise ValueError(f"a version must be >= 0 and < 2**63, got {number}")
    first, lazy = _split(number)
    return count_bytes(first) + (count_bytes(lazy) if lazy else b"")


def _version_size(number: int) -> int:
    first, lazy = _split(number)
    return count_size(first) + (count_size(lazy) if lazy else 0)


def _read_version(reader: Reader) -> int:
    first = reader.count("the version")
    lazy = reader.count("the version's lazy syncs") if first & 1 else 0
    number = (first >> 1 << LAZY_BITS) + lazy
    if number >= MOST or lazy >> LAZY_BITS or (first & 1 and not lazy):
        raise MalformedMessage(f"there is no version of generation {first >> 1} and {lazy} lazy syncs")
    return number
