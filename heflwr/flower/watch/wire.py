"""What rides on Flower's messages as bytes, and back.

    magic        2 bytes
    what         1 byte: the format's version (high half) and what this is (low half)
    fingerprint  8 bytes, of the list of watched functions
    session      a count, of the node's memory; 0 where the server does not know it
    stamp        of replies: a count, of the call
    entries      one a function, in the order of that list

A reply belongs to the ask that it answers, and repeats nothing of it: "inside the zone" is one byte.

Numbers are counts of one to nine bytes and little-endian float64 (see `heflwr.automon.wire`). Sizes are checked against
the bytes at hand before anything is made of them, and nothing but numbers and one short text ever is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.automon.protocols.pull.polytope import Polytope
from heflwr.automon.wire import Reader, count_bytes, floats_bytes

MAGIC = b"\xa7F"
FORMAT = 1
"""Raised with every change of what the bytes mean, at most 15."""

ASKS, REPLIES, REFUSAL, MEMORY = 1, 2, 3, 4
"""What the bytes are; the last is what a node keeps between messages (see `memory`)."""

FINGERPRINT_BYTES = 8

MOST_BYTES = 1 << 20
"""Longer ones are not looked at: a hundred functions of a hundred numbers each have less."""

TEXT_LENGTH = 200
"""Of a reason, in characters."""

SILENT, ANCHOR, EXACT, UNCHECKED, WARMING, WITHOUT = range(6)
"""What a function's entry of a reply is: within the zone; a new anchor, with the local vector in the zone around it; an
anchor that is the local vector itself; likewise, from a node that has not got the zone; no local vector, because the
node is warming up, or for a reason that follows."""

HAS_ZONE, IS_KNOWN = 1, 2
"""Marks of an ask: a zone follows; so does the node's last report, which was of the session above."""

COUNTS = ("a session", "a number of calls", "a sequence", "a version")
"""What a reply and a memory begin with."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A node's word for a function that it has no local vector of.

    Attributes:
        reason: Why; empty where the node is only warming up.
        is_warming: The call was one of the first, which are left out.
    """

    reason: str = ""
    is_warming: bool = False


# What the server sends


def asks_bytes(fingerprint: bytes, asks: Sequence[Ask]) -> list[bytes]:
    """Return the beginning and an entry a function; joined they are what is sent.

    Sessions that are not the latest one are left out: the node reports, as it has to.
    """
    session = max(asks, key=lambda ask: ask.sequence if ask.session else -1).session if asks else 0
    return [head(ASKS, fingerprint) + count_bytes(session), *[_ask_bytes(ask, session) for ask in asks]]


def read_asks(data: bytes, fingerprint: bytes, dims: Sequence[int]) -> list[Ask] | None:
    """Return an ask a function; None where they are of another list of functions.

    Args:
        data: What came.
        fingerprint: Of the reader's list.
        dims: Sizes of the local vectors.

    Raises:
        MalformedMessage: These bytes are something else, or a zone is of another size.
    """
    found, reader = begin(data, ASKS)
    if found != fingerprint:
        return None
    session = reader.count("a session")
    asks = [_read_ask(reader, dim, session) for dim in dims]
    reader.end()
    return asks


def _ask_bytes(ask: Ask, session: int) -> bytes:
    is_known = ask.session == session != 0
    marks = HAS_ZONE * (ask.zone is not None) + IS_KNOWN * is_known
    parts = [bytes([marks]), count_bytes(ask.version)]
    parts += [count_bytes(ask.sequence)] if is_known else []
    parts += [zone_bytes(ask.zone)] if ask.zone is not None else []
    return b"".join(parts)


def _read_ask(reader: Reader, dim: int, session: int) -> Ask:
    marks = reader.byte("an ask's marks")
    if marks > HAS_ZONE + IS_KNOWN:
        raise MalformedMessage(f"an ask has two marks, got {marks:b}")
    version = reader.count("a version")
    sequence = reader.count("a sequence") if marks & IS_KNOWN else 0
    zone = read_zone(reader, dim) if marks & HAS_ZONE else None
    return Ask(version, zone, session if marks & IS_KNOWN else 0, sequence)


# What the node replies


def replies_bytes(fingerprint: bytes, session: int, stamp: int, replies: Sequence[Reply | Absent]) -> bytes:
    """Return what a node has to say of each function.

    Args:
        fingerprint: Of the list of functions.
        session: Of the node's memory, > 0; all replies are of it.
        stamp: Of the call: what replies have as `calls`, and reports as `sequence`.
        replies: One a function.
    """
    counts = count_bytes(session) + count_bytes(stamp)
    return head(REPLIES, fingerprint) + counts + b"".join(map(_reply_bytes, replies))


def refusal_bytes(fingerprint: bytes, reason: str) -> bytes:
    """Return why a node says nothing of any function."""
    return head(REFUSAL, fingerprint) + _text_bytes(reason)


def read_replies(
    data: bytes, fingerprint: bytes, asks: Sequence[Ask], dims: Sequence[int]
) -> tuple[list[Reply | Absent], list[int]] | str:
    """Return what a node says of each function and how many bytes each took, or in words why it says nothing.

    Args:
        data: What came.
        fingerprint: Of the list that was asked for.
        asks: What it replies to.
        dims: Sizes of the local vectors.

    Raises:
        MalformedMessage: No node of ours sends that.
    """
    if data[len(MAGIC) : len(MAGIC) + 1] == bytes([FORMAT << 4 | REFUSAL]):
        _, reader = begin(data, REFUSAL)
        reason = _read_text(reader)
        reader.end()
        return reason
    found, reader = begin(data, REPLIES)
    if found != fingerprint:
        raise MalformedMessage("a reply to another list of functions than was asked for")
    session, stamp = reader.count("a session"), reader.count("a stamp")
    if session == 0:
        raise MalformedMessage("a node's session is > 0, got 0")
    replies, sizes = [], []
    for ask, dim in zip(asks, dims, strict=True):
        left = reader.left
        replies.append(_read_reply(reader, ask, dim, session, stamp))
        sizes.append(left - reader.left)
    reader.end()
    return replies, sizes


def _reply_bytes(reply: Reply | Absent) -> bytes:
    if isinstance(reply, Absent):
        return bytes([WARMING]) if reply.is_warming else bytes([WITHOUT]) + _text_bytes(reply.reason)
    if reply.vector is None:
        return bytes([SILENT])
    return bytes([UNCHECKED if not reply.version else EXACT if reply.is_exact else ANCHOR]) + floats_bytes(reply.vector)


def _read_reply(reader: Reader, ask: Ask, dim: int, session: int, stamp: int) -> Reply | Absent:
    what = reader.byte("what a reply is")
    if what == WARMING:
        return Absent(is_warming=True)
    if what == WITHOUT:
        return Absent(_read_text(reader))
    if what == SILENT:
        return Reply(session, stamp, ask.sequence, ask.version, None)
    if what not in (ANCHOR, EXACT, UNCHECKED):
        raise MalformedMessage(f"there is no reply of kind {what}")
    version = 0 if what == UNCHECKED else ask.version
    return Reply(session, stamp, stamp, version, reader.floats((dim,), "a vector"), is_exact=what != ANCHOR)


# Parts of all of them


def zone_bytes(zone: Polytope) -> bytes:
    """Return a zone: its rows' number, reach and depths (which may be infinite), and the rows."""
    parts = [floats_bytes(array) for array in (zone.reach, zone.depths, zone.rows)]
    return count_bytes(len(zone.rows)) + b"".join(parts)


def read_zone(reader: Reader, dim: int) -> Polytope:
    """Return the zone that comes next.

    Raises:
        MalformedMessage: There is none.
    """
    count = reader.count("the number of a zone's rows")
    reach = np.array([reader.float("a zone's reach") for _ in range(dim)])
    if 8 * count > reader.left:
        raise MalformedMessage(f"a zone of {count} rows takes more than the {reader.left} bytes that are left")
    depths = np.array([reader.float("a zone's depths") for _ in range(count)])
    rows = reader.floats((count, dim), "a zone's rows")
    if not ((reach >= 0).all() and (depths >= 0).all()):
        raise MalformedMessage("a zone's reach and depths are >= 0")
    return Polytope(rows, depths, reach)


def head(what: int, fingerprint: bytes) -> bytes:
    """Return what all bytes of ours begin with."""
    return MAGIC + bytes([FORMAT << 4 | what]) + fingerprint


def begin(data: bytes, what: int) -> tuple[bytes, Reader]:
    """Return the fingerprint of bytes that are to be of that kind, and a reader of what follows.

    Raises:
        MalformedMessage: They are something else.
    """
    if not isinstance(data, bytes) or len(data) > MOST_BYTES:
        size = f"{len(data)} of them" if isinstance(data, bytes) else type(data).__name__
        raise MalformedMessage(f"there are at most {MOST_BYTES} bytes, got {size}")
    reader = Reader(data)
    magic = reader.take(len(MAGIC), "the magic")
    if magic != MAGIC:
        raise MalformedMessage(f"it begins with {MAGIC!r}, got {magic!r}")
    found = reader.byte("the format")
    if found >> 4 != FORMAT:
        raise MalformedMessage(
            f"format {found >> 4} arrived, this heflwr reads {FORMAT}: install the same on both sides"
        )
    if found & 0xF != what:
        raise MalformedMessage(f"number {found & 0xF} of what there is arrived, {what} was expected")
    return reader.take(FINGERPRINT_BYTES, "the fingerprint"), reader


def _text_bytes(text: str) -> bytes:
    data = text[:TEXT_LENGTH].encode(errors="replace")
    return count_bytes(len(data)) + data


def _read_text(reader: Reader) -> str:
    data = reader.take(reader.count("a text's length"), "a text")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage("a reason is no text") from error
    return "".join(letter if letter.isprintable() else "?" for letter in text[:TEXT_LENGTH])
