"""What an agent and its coordinator say to each other, as bytes; a message is one part of ZeroMQ's.

    magic    2 bytes
    what     1 byte: the format's version (high half) and the kind of message (low half)
    fields   in the order of the dataclass: counts of one to nine bytes; texts are their size, then UTF-8

Carried holds a message of `heflwr.automon.codec` to its end. A Refusal is laid out alike in every format: who speaks
another one still reads why it is not let in. Sizes are checked against the bytes at hand before anything is made of
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from heflwr.automon.codec import FORMAT as PROTOCOL
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.wire import Reader, count_bytes

MAGIC = b"\xa7L"
FORMAT = 1
"""Raised with every change of what the bytes mean, at most 15; that of what is carried is the codec's."""

TEXT_BYTES = 4096
"""Longest text."""

MOST_FUNCTIONS = 64
"""In a list of watches: each is a part of every heartbeat."""

MOST_BYTES = 1 << 20
"""Longer messages end their connection: a vector of 131,000 numbers."""

_HELLO, _WELCOME, _REFUSAL, _BEAT, _CARRIED, _BYE, _STRANGER = range(1, 8)


class Reason(IntEnum):
    """Why an agent may not take part."""

    VERSION = 1
    WATCHES = 2
    NAME = 3
    TAKEN = 4
    FULL = 5


@dataclass(frozen=True)
class Hello:
    """Agent to coordinator: this is who I am and what I watch; until there is an answer, again and again."""

    identifier: str
    """"": as the key is called."""
    fingerprint: str
    program: str
    """Version of heflwr, for messages."""
    protocol: int = PROTOCOL
    """Format of what is carried."""


@dataclass(frozen=True)
class Welcome:
    """Coordinator to agent, for each Hello and Beat: you take part."""

    session: int
    """Drawn when a coordinator begins from nothing: constraints of another session mean nothing any more."""
    index: int
    heartbeat_milliseconds: int
    """Let me hear from you so often."""


@dataclass(frozen=True)
class Refusal:
    """Coordinator to agent: you do not take part."""

    reason: Reason
    text: str


@dataclass(frozen=True)
class Pulse:
    """How one function fares at an agent."""

    is_present: bool
    """Whether it has a local vector of late."""
    version: int = 0
    sequence: int = 0
    updates: int = 0
    """Local vectors since the agent was let in."""


@dataclass(frozen=True)
class Beat:
    """Agent to coordinator: I am here, and so fare my functions, in the list's order."""

    pulses: tuple[Pulse, ...]


@dataclass(frozen=True)
class Carried:
    """Either way: a message of one function's protocol."""

    function: int
    """Its place in the list."""
    data: bytes


@dataclass(frozen=True)
class Bye:
    """Agent to coordinator: I end; do not wait for me."""


@dataclass(frozen=True)
class Stranger:
    """Coordinator to agent: I do not know you, say Hello."""


Frame = Hello | Welcome | Refusal | Beat | Carried | Bye | Stranger


class OtherFormat(MalformedMessage):
    """A message of ours, but of a program with another format."""


def encode(frame: Frame) -> bytes:
    """Return a frame as bytes."""
    if isinstance(frame, Hello):
        texts = map(_text, (frame.identifier, frame.fingerprint, frame.program))
        return _head(_HELLO) + b"".join(texts) + count_bytes(frame.protocol)
    if isinstance(frame, Welcome):
        counts = (frame.session, frame.index, frame.heartbeat_milliseconds)
        return _head(_WELCOME) + b"".join(map(count_bytes, counts))
    if isinstance(frame, Refusal):
        return _head(_REFUSAL) + count_bytes(frame.reason) + _text(frame.text)
    if isinstance(frame, Beat):
        parts = [_head(_BEAT), count_bytes(len(frame.pulses))]
        for pulse in frame.pulses:
            parts.append(count_bytes(pulse.is_present))
            if pulse.is_present:
                parts += map(count_bytes, (pulse.version, pulse.sequence, pulse.updates))
        return b"".join(parts)
    if isinstance(frame, Carried):
        return _head(_CARRIED) + count_bytes(frame.function) + frame.data
    return _head(_BYE if isinstance(frame, Bye) else _STRANGER)


def decode(data: bytes) -> Frame:
    """Return the frame that bytes stand for.

    Raises:
        OtherFormat: Of another version of heflwr, and no Refusal.
        MalformedMessage: It is none, cut, or too long.
    """
    reader = Reader(data)
    magic, what = reader.take(len(MAGIC), "the magic"), reader.byte("the kind")
    if magic != MAGIC:
        raise MalformedMessage(f"a message begins with {MAGIC!r}, got {magic!r}")
    kind = what & 0xF
    if what >> 4 != FORMAT and kind != _REFUSAL:
        raise OtherFormat(f"a message of format {what >> 4} arrived, this program speaks {FORMAT}")
    if kind == _CARRIED:
        function = reader.count("the function")
        return Carried(function, reader.take(reader.left, "a message"))
    frame = _read(kind, reader)
    reader.end()
    return frame


def _read(kind: int, reader: Reader) -> Frame:
    if kind == _HELLO:
        identifier, fingerprint, program = (
            _read_text(reader, what) for what in ("the identifier", "the list", "the version")
        )
        return Hello(identifier, fingerprint, program, reader.count("the protocol"))
    if kind == _WELCOME:
        return Welcome(*(reader.count(what) for what in ("the session", "the index", "the heartbeat")))
    if kind == _REFUSAL:
        number, text = reader.count("the reason"), _read_text(reader, "the text")
        try:
            return Refusal(Reason(number), text)
        except ValueError:  # of a later version: its text says it all
            return Refusal(Reason.VERSION, text)
    if kind == _BEAT:
        return Beat(tuple(_read_pulse(reader) for _ in range(_bounded(reader))))
    if kind == _BYE:
        return Bye()
    if kind == _STRANGER:
        return Stranger()
    raise MalformedMessage(f"there is no message of kind {kind}")


def _read_pulse(reader: Reader) -> Pulse:
    flag = reader.count("whether a function is present")
    if flag > 1:
        raise MalformedMessage(f"a function is present (1) or not (0), got {flag}")
    if not flag:
        return Pulse(False)
    return Pulse(True, *(reader.count(what) for what in ("the version", "the sequence", "the updates")))


def _bounded(reader: Reader) -> int:
    number = reader.count("the number of functions")
    if number > MOST_FUNCTIONS:
        raise MalformedMessage(f"a heartbeat of {number} functions is none")
    return number


def _head(kind: int) -> bytes:
    return MAGIC + bytes([FORMAT << 4 | kind])


def _text(text: str) -> bytes:
    data = text.encode(errors="replace")[:TEXT_BYTES]
    return count_bytes(len(data)) + data


def _read_text(reader: Reader, what: str) -> str:
    size = reader.count(f"the length of {what}")
    if size > TEXT_BYTES:
        raise MalformedMessage(f"{what} has at most {TEXT_BYTES} bytes, got {size}")
    return reader.take(size, what).decode(errors="replace")
