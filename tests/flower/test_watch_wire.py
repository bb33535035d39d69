"""The bridge's bytes: what is written is read, and nothing else is taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.automon.protocols.pull.node import Memory
from heflwr.automon.protocols.pull.polytope import Polytope
from heflwr.flower.watch import memory, wire
from heflwr.flower.watch.memory import Kept
from heflwr.flower.watch.wire import Absent

FINGERPRINT = bytes(range(8))
DIM = 3
ASKED = [Ask(5, None, 9, 300), Ask(0, None, 0, 0)]

counts = st.integers(0, 2**63 - 1)
numbers = st.floats(-1e300, 1e300)
vectors = arrays(np.float64, DIM, elements=numbers)
above = st.floats(0, allow_infinity=True, allow_nan=False)


@st.composite
def zones(draw: st.DrawFn) -> Polytope:
    rows = draw(st.integers(0, 3))
    return Polytope(
        draw(arrays(np.float64, (rows, DIM), elements=numbers)),
        draw(arrays(np.float64, rows, elements=above)),
        draw(arrays(np.float64, DIM, elements=above)),
    )


SESSION, STAMP = 9, 1_700_000_000_000_000
asks = st.builds(Ask, counts, st.none() | zones(), st.just(SESSION), counts) | st.builds(
    Ask, counts, st.none() | zones(), st.just(0), st.just(0)
)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[Ask, Reply]:
    """An ask, and a reply of a node to it."""
    ask = draw(asks)
    if draw(st.booleans()):
        return ask, Reply(SESSION, STAMP, ask.sequence, ask.version, None)
    is_exact = draw(st.booleans())
    version = 0 if is_exact and draw(st.booleans()) else ask.version
    return ask, Reply(SESSION, STAMP, STAMP, version, draw(vectors), is_exact or not version)


absents = st.just(Absent(is_warming=True)) | st.builds(Absent, st.text(st.characters(codec="utf-8"), max_size=300))
memories = st.builds(
    Memory,
    st.integers(1, 2**63 - 1),
    counts,
    counts,
    counts,
    st.none() | zones(),
    st.none() | vectors,
    st.none() | vectors,
    st.none() | vectors,
    st.tuples(above, above),
)


def told(value: object) -> object:
    """A value of numbers that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "__dataclass_fields__"):
        return [told(getattr(value, name)) for name in value.__dataclass_fields__]
    return [told(item) for item in value] if isinstance(value, tuple | list) else value


@settings(max_examples=60)
@given(st.lists(asks, max_size=4))
def test_asks_are_read_as_they_were_written(written: list[Ask]) -> None:
    """Zones, infinite reaches and largest counts included."""
    data = b"".join(wire.asks_bytes(FINGERPRINT, written))
    assert told(written) == told(wire.read_asks(data, FINGERPRINT, [DIM] * len(written)))
    assert wire.read_asks(data, bytes(8), [DIM] * len(written)) is None


def test_sessions_that_are_not_the_latest_are_left_out() -> None:
    """A node that lost its memory has told some functions already; for the others it has to report anyway."""
    written = [Ask(5, None, 8, 100), Ask(6, None, 9, 200), Ask(7, None, 0, 0)]
    read = wire.read_asks(b"".join(wire.asks_bytes(FINGERPRINT, written)), FINGERPRINT, [DIM] * 3)
    assert read is not None
    assert [(5, 0, 0), (6, 9, 200), (7, 0, 0)] == [(ask.version, ask.session, ask.sequence) for ask in read]


@settings(max_examples=60)
@given(st.lists(exchanges(), max_size=4))
def test_replies_are_read_as_they_were_written(exchanged: list[tuple[Ask, Reply]]) -> None:
    """Each with its size; silence is one byte."""
    asked, written = [ask for ask, _ in exchanged], [reply for _, reply in exchanged]
    data = wire.replies_bytes(FINGERPRINT, SESSION, STAMP, written)
    read = wire.read_replies(data, FINGERPRINT, asked, [DIM] * len(written))
    assert not isinstance(read, str)
    assert told(written) == told(read[0])
    assert [1 if reply.vector is None else 1 + 8 * DIM for reply in written] == read[1]


@settings(max_examples=60)
@given(st.builds(Kept, counts, counts, st.lists(memories, max_size=4).map(tuple)))
def test_a_memory_is_read_as_it_was_written(kept: Kept) -> None:
    """Whatever a node may have forgotten."""
    data = memory.to_bytes(FINGERPRINT, kept)
    assert told(kept) == told(memory.from_bytes(data, FINGERPRINT, [DIM] * len(kept.functions)))


@settings(max_examples=60)
@given(absents)
def test_a_reason_is_short_and_printable(absent: Absent) -> None:
    """Whatever a client writes ends up in a log."""
    read = wire.read_replies(wire.replies_bytes(FINGERPRINT, 1, 1, [absent]), FINGERPRINT, ASKED[:1], [DIM])
    assert not isinstance(read, str)
    (found,) = read[0]
    assert isinstance(found, Absent)
    assert absent.is_warming == found.is_warming
    assert len(found.reason) == min(wire.TEXT_LENGTH, len(absent.reason))
    assert found.reason.isprintable()


def test_a_refusal_says_why() -> None:
    """In place of any reply, whatever list the node has."""
    assert "no such list" == wire.read_replies(
        wire.refusal_bytes(bytes(8), "no such list"), FINGERPRINT, ASKED, [DIM, DIM]
    )


def samples() -> list[tuple[str, bytes]]:
    zone = Polytope(np.ones((2, DIM)), np.array([1.0, np.inf]), np.full(DIM, np.inf))
    x = np.arange(DIM, dtype=np.float64)
    return [
        ("asks", b"".join(wire.asks_bytes(FINGERPRINT, [Ask(5, zone, 7, 300), Ask(0, None, 0, 0)]))),
        ("replies", wire.replies_bytes(FINGERPRINT, 9, 300, [Reply(9, 300, 300, 5, x, True), Absent("no energy")])),
        ("refusal", wire.refusal_bytes(FINGERPRINT, "another list")),
        ("memory", memory.to_bytes(FINGERPRINT, Kept(3, 4, (Memory(9, 1, 300, 5, zone, x, x, x), Memory(1))))),
    ]


def read(what: str, data: bytes) -> None:
    """Read bytes of that kind. Raises MalformedMessage."""
    if what == "asks":
        wire.read_asks(data, FINGERPRINT, [DIM, DIM])
    elif what == "memory":
        memory.from_bytes(data, FINGERPRINT, [DIM, DIM])
    else:
        wire.read_replies(data, FINGERPRINT, ASKED, [DIM, DIM])


@pytest.mark.parametrize(("what", "data"), samples())
def test_what_is_cut_or_goes_on_is_refused(what: str, data: bytes) -> None:
    """At every byte; and one byte more."""
    read(what, data)
    for size in range(len(data)):
        with pytest.raises(MalformedMessage):
            read(what, data[:size])
    with pytest.raises(MalformedMessage):
        read(what, data + b"\0")


@settings(max_examples=300)
@given(st.data())
def test_garbled_bytes_are_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    """No other exception, no memory beyond what was sent, and only finite vectors."""
    what, good = data.draw(st.sampled_from(samples()))
    bytes_ = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(what, bytes(bytes_))
    except MalformedMessage:
        return
    if what == "replies":
        found = wire.read_replies(bytes(bytes_), FINGERPRINT, ASKED, [DIM, DIM])
        for reply in [] if isinstance(found, str) else found[0]:
            assert not isinstance(reply, Reply) or reply.vector is None or np.isfinite(reply.vector).all()


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["asks", "replies", "memory"]))
def test_noise_is_refused(noise: bytes, what: str) -> None:
    """Also with our own beginning."""
    number = {"asks": wire.ASKS, "replies": wire.REPLIES, "memory": wire.MEMORY}[what]
    with pytest.raises(MalformedMessage):
        read(what, noise)
    try:
        read(what, wire.MAGIC + bytes([wire.FORMAT << 4 | number]) + FINGERPRINT + noise)
    except MalformedMessage:
        return


def test_another_format_says_what_to_do() -> None:
    """Two versions of heflwr in one federation."""
    data = bytearray(wire.replies_bytes(FINGERPRINT, 1, 1, []))
    data[2] = 2 << 4 | wire.REPLIES
    with pytest.raises(MalformedMessage, match="install the same on both sides"):
        wire.read_replies(bytes(data), FINGERPRINT, [], [])


def test_nobody_reads_a_million_bytes() -> None:
    """Before anything is made of them."""
    with pytest.raises(MalformedMessage, match="at most"):
        wire.read_replies(bytes(wire.MOST_BYTES + 1), FINGERPRINT, [], [])
