"""Messages as bytes: what goes in comes out, and bytes that no peer of ours sends are refused."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import heflwr.automon.zones as zone_package
from heflwr.automon.codec import FORMAT, KINDS, MAGIC, MOST_BYTES, checksum, decode, encode, payload_bytes
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import Constraint, Request, Slack, Vector, Violation, ViolationKind, version
from heflwr.automon.signals import Goodbye, Heartbeat, Reason, Refusal, Welcome
from heflwr.automon.wire import count_bytes
from heflwr.automon.zone_format import ZONES, layout_of

counts = st.integers(0, 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
dims = st.integers(1, 6)


def floats(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, shape, elements=finite)


@st.composite
def zones(draw: st.DrawFn, dim: int, tags: Sequence[int] = tuple(ZONES)) -> Any:
    """Any zone that travels, by its layout, for vectors of this size."""
    leaves = [tag for tag in ZONES if not layout_of(tag).inside]
    tag = draw(st.sampled_from(tags))
    layout = layout_of(tag)
    sizes = {letter: draw(st.integers(0, 5)) for _, shape in layout.arrays for letter in shape} | {"d": dim}
    values: dict[str, Any] = {name: draw(st.booleans()) for name in layout.flags}
    values |= {name: draw(counts) for name in layout.counts}
    values |= {name: draw(st.floats(allow_nan=False)) for name in layout.floats}
    for name in layout.inside:
        values[name] = draw(zones(dim, leaves))
    for name, shape in layout.arrays:
        is_there = name not in layout.optional or draw(st.booleans())
        values[name] = draw(floats(*[sizes[letter] for letter in shape])) if is_there else None
    return layout.zone(**values)


@st.composite
def constraints(draw: st.DrawFn) -> Constraint:
    dim = draw(dims)
    return Constraint(draw(counts), draw(zones(dim)), draw(st.none() | floats(dim)))


vectors = dims.flatmap(floats)
FIELDS = {
    "node": counts,
    "version": counts,
    "sequence": counts,
    "session": counts,
    "updates": counts,
    "kind": st.sampled_from(ViolationKind),
    "reason": st.sampled_from(Reason),
    "vector": vectors,
    "slack": vectors,
}
messages = st.one_of(
    constraints(),
    *[
        st.builds(kind, **{field.name: FIELDS[field.name] for field in fields(kind)})
        for kind in KINDS.values()
        if kind is not Constraint
    ],
)


def assert_same(one: Any, other: Any) -> None:
    """Equal to the bit, field by field."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.shape, one.dtype, one.tobytes()) == (other.shape, other.dtype, other.tobytes())
    elif hasattr(one, "__dataclass_fields__"):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


@given(messages)
def test_what_goes_in_comes_out(message: Any) -> None:
    """Every message, with every zone, is the same to the bit after a journey as bytes."""
    assert_same(message, decode(encode(message)))


@given(messages)
def test_the_size_is_known_without_encoding(message: Any) -> None:
    """`payload_bytes` is the length of what `encode` makes."""
    assert len(encode(message)) == payload_bytes(message)


def zone_of(tag: int, dim: int) -> Any:
    """A zone of ones."""
    layout = layout_of(tag)
    values: dict[str, Any] = dict.fromkeys(layout.flags, False) | dict.fromkeys(layout.counts, 1)
    values |= dict.fromkeys(layout.floats, 1.0)
    return layout.zone(**values, **{name: np.ones([dim] * len(shape)) for name, shape in layout.arrays})


ANCHORABLE = [tag for tag in ZONES if "reference" in dict(layout_of(tag).arrays)]


@given(st.data(), dims, st.sampled_from(ANCHORABLE))
def test_a_slack_that_the_node_can_know_does_not_travel(data: st.DataObject, dim: int, tag: int) -> None:
    """A full sync's slack, vector - reference, is four bytes; a node that sent the vector gets it back to the bit."""
    vector, reference = data.draw(floats(dim)), data.draw(floats(dim))
    zone = replace(zone_of(tag, dim), reference=reference)
    with np.errstate(over="ignore"):
        constraint = Constraint(version(1), zone, vector - reference)
    if not np.isfinite(constraint.slack).all():  # type: ignore[arg-type]
        return
    bare = len(encode(Constraint(version(1), zone, None)))
    sent = encode(constraint, vector)
    assert bare + 4 == len(sent) == payload_bytes(constraint, vector)
    other = np.ones(dim)
    assert_same(constraint, decode(sent, {checksum(other): other, checksum(vector): vector}))


def test_another_slack_travels_whole() -> None:
    """A slack that does not follow from the node's vector is sent in full."""
    zone = zone_of(2, 2)
    constraint = Constraint(version(1, 1), zone, np.array([5.0, 6.0]))
    assert_same(constraint, decode(encode(constraint, np.array([1.0, 2.0]))))


def test_a_slack_of_a_vector_that_was_never_sent_is_refused() -> None:
    """A node that restarted without its vectors cannot take an anchored slack."""
    zone, vector = zone_of(2, 2), np.array([1.0, 2.0])
    data = encode(Constraint(version(1), zone, vector - zone.reference), vector)
    for sent in ({}, {checksum(np.ones(2)): np.ones(2)}, {checksum(vector): np.ones(3)}):
        with pytest.raises(MalformedMessage, match="not sent from here"):
            decode(data, sent)


@pytest.mark.parametrize("dim", [1, 2, 40, 100])
def test_messages_are_no_larger_than_the_reference_programs(dim: int) -> None:
    """Request 16 bytes, answer and lazy sync 16 + 8 d, violation 20 + 8 d, full sync 52 + 16 d."""
    vector = np.linspace(0.0, 1.0, dim)
    zone = zone_of(2, dim)
    number = version(8000, 500)
    assert payload_bytes(Request(number)) <= 16
    assert payload_bytes(Vector(999, number, vector)) <= 16 + 8 * dim
    assert payload_bytes(Slack(number, vector)) <= 16 + 8 * dim
    assert payload_bytes(Violation(999, number, ViolationKind.SAFE_ZONE, vector)) <= 20 + 8 * dim
    assert payload_bytes(Constraint(version(8000), zone, vector - zone.reference), vector) <= 52 + 16 * dim


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    """Noise is no message, with and without the right beginning."""
    with pytest.raises(MalformedMessage):
        decode(data)
    try:
        decode(MAGIC + bytes([FORMAT << 4]) + data)
    except MalformedMessage:
        return
    raise AssertionError("a message of kind 0 was accepted")


@settings(max_examples=400)
@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=200))
def test_random_fields_are_refused_or_make_a_message(kind: int, data: bytes) -> None:
    """Behind a right beginning noise is refused, or happens to be a message, which encodes to the same bytes."""
    data = MAGIC + bytes([FORMAT << 4 | kind]) + data
    try:
        message = decode(data)
    except MalformedMessage:
        return
    assert type(message) is KINDS[kind]
    assert data == encode(message)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with some bytes changed, cut out or put in."""
    data = bytearray(encode(draw(messages)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "cut", "insert", "end"])):
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 9))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=9))
            case "end":
                del data[at:]
    return bytes(data)


@settings(max_examples=400)
@given(damaged())
def test_damaged_messages_are_refused_or_are_messages(data: bytes) -> None:
    """Whatever happens to the bytes, the outcome is MalformedMessage or a message that encodes to those bytes."""
    try:
        message = decode(data)
    except MalformedMessage:
        return
    assert data == encode(message)


@given(messages)
def test_a_cut_message_is_refused(message: Any) -> None:
    """No true beginning of a message is one."""
    data = encode(message)
    for end in range(len(data)):
        with pytest.raises(MalformedMessage):
            decode(data[:end])


@given(messages, st.binary(min_size=1))
def test_bytes_after_the_end_are_refused(message: Any, rest: bytes) -> None:
    """A message with something behind it is none."""
    with pytest.raises(MalformedMessage, match="follow the end"):
        decode(encode(message) + rest)


HEAD = MAGIC + bytes([FORMAT << 4 | 4])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "the magic takes 2 bytes, but 0 are left"),
        (b"PK" + bytes(8), "begins with"),
        (MAGIC + bytes([(FORMAT + 1) << 4 | 2, 0]), f"format {FORMAT + 1} arrived, this program reads {FORMAT}"),
        (MAGIC + bytes([FORMAT << 4 | 15, 0]), "no message of kind 15"),
        (MAGIC + bytes([FORMAT << 4 | 2]) + b"\xff" * 20, "more than nine bytes"),
        (MAGIC + bytes([FORMAT << 4 | 2]) + b"\x82\x00", "padded with zeros"),
        (MAGIC + bytes([FORMAT << 4 | 2, 1, 0]), "no version"),
        (MAGIC + bytes([FORMAT << 4 | 1, 0, 0, 9]) + bytes(8), "kind cannot be 9"),
        (encode(Vector(0, 0, np.ones(1)))[:-8] + np.array([np.nan]).tobytes(), "not finite"),
        (encode(Vector(0, 0, np.ones(1)))[:-9] + b"\x00", "is empty"),
        (HEAD + b"\x02" + b"\x3f", "no zone with tag 63"),
        (HEAD + b"\x02" + b"\x02\x01\x00", "dimension is 0"),
        (HEAD + b"\x02" + b"\x02\xff\x7f\x01", "marks, got 1111111111111"),
        (HEAD + b"\x02" + b"\xc2" + encode(Constraint(version(1), zone_of(2, 1), None))[5:], "no slack of kind 3"),
        (bytes(MOST_BYTES + 1), "at most"),
    ],
)
def test_the_error_says_what_was_wrong(data: bytes, match: str) -> None:
    """Each way of being no message has its own words."""
    with pytest.raises(MalformedMessage, match=match):
        decode(data)


@pytest.mark.parametrize("size", [10, 2**20, 2**32, 2**62])
def test_forged_sizes_make_no_memory(size: int) -> None:
    """Sizes that the bytes do not bear out are refused before an array is made."""
    forged = HEAD + b"\x02" + b"\x01\x01" + count_bytes(size) + count_bytes(size) + bytes(100)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage, match="are left"):
            decode(forged)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (Vector(0, 0, np.array([np.nan])), ValueError),
        (Vector(0, 0, np.ones((2, 2))), ValueError),
        (Vector(0, 0, np.ones(0)), ValueError),
        (Vector(-1, 0, np.ones(1)), ValueError),
        (Request(-1), ValueError),
        (Request(2**63), ValueError),
        ("hello", TypeError),
        (Constraint(1, "zone", None), TypeError),
    ],
)
def test_what_cannot_travel_is_refused_by_the_sender(message: Any, error: type[Exception]) -> None:
    """A vector that is not finite, a negative number and a foreign object raise where they are sent."""
    with pytest.raises(error):
        encode(message)


@pytest.mark.parametrize("message", [Heartbeat(3, version(2, 1)), Goodbye(3), Welcome(2**62), Refusal(Reason.TAKEN)])
def test_signals_travel_too(message: Any) -> None:
    """What transports say to each other is made of the same bytes."""
    assert message == decode(encode(message))


def test_every_zone_travels() -> None:
    """Each zone of heflwr.automon.zones has a tag, and its fields are of types that travel."""
    found = set()
    for module in pkgutil.iter_modules(zone_package.__path__, f"{zone_package.__name__}."):
        for name, member in vars(importlib.import_module(module.name)).items():
            if is_dataclass(member) and name == getattr(member, "__name__", "") and member.__module__ == module.name:
                found.add(member)
    assert found
    assert found == {layout_of(tag).zone for tag in ZONES}


def test_zones_do_not_nest_for_ever() -> None:
    """A zone in a zone in a zone is refused before Python's stack is at its end."""
    inner = encode(Constraint(version(1), zone_of(2, 1), None))[5:]
    shifted = next(tag for tag in ZONES if layout_of(tag).inside)
    assert decode(HEAD + b"\x02" + bytes([shifted]) + b"\x00" + bytes(8) + b"\x02" + inner)
    with pytest.raises(MalformedMessage, match="inside one another"):
        decode(HEAD + b"\x02" + (bytes([shifted]) + b"\x00" + bytes(8)) * 3000)


def test_the_codec_loads_no_jax() -> None:
    """A node encodes and decodes where jax cannot be imported."""
    program = "import sys; sys.modules['jax'] = None; import heflwr.automon.codec, heflwr.automon.checkpoint"
    subprocess.run([sys.executable, "-c", program], check=True)
