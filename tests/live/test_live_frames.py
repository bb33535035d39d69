"""Frames: what is encoded is decoded, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heflwr.automon.errors import MalformedMessage
from heflwr.live.frames import (
    MOST_FUNCTIONS,
    TEXT_BYTES,
    Beat,
    Bye,
    Carried,
    Hello,
    Pulse,
    Reason,
    Refusal,
    Stranger,
    Welcome,
    decode,
    encode,
)

COUNTS = st.integers(0, 2**63 - 1)
TEXTS = st.text(max_size=40)
PULSES = st.just(Pulse(False)) | st.builds(Pulse, st.just(True), COUNTS, COUNTS, COUNTS)
FRAMES = (
    st.builds(Hello, TEXTS, TEXTS, TEXTS, COUNTS)
    | st.builds(Welcome, COUNTS, COUNTS, COUNTS)
    | st.builds(Refusal, st.sampled_from(list(Reason)), TEXTS)
    | st.builds(Beat, st.lists(PULSES, max_size=MOST_FUNCTIONS).map(tuple))
    | st.builds(Carried, COUNTS, st.binary(max_size=40))
    | st.sampled_from([Bye(), Stranger()])
)


@given(FRAMES)
def test_a_frame_survives_as_bytes(frame: object) -> None:
    """Every kind, with any counts and texts."""
    assert frame == decode(encode(frame))  # type: ignore[arg-type]


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"\xa7L\x14" + data))
@example(b"\xa7L\x14" + b"\xff\xff\xff\xff\x7f")
@example(b"\xa7L\x11" + b"\xff\xff\x7f")
def test_noise_is_malformed_or_a_frame(data: bytes) -> None:
    """Nothing but our own error comes out, and nothing is made of a size that is not there."""
    try:
        frame = decode(data)
    except MalformedMessage:
        return
    assert frame == decode(encode(frame))


@given(FRAMES)
def test_a_frame_that_is_cut_or_goes_on_is_malformed(frame: object) -> None:
    """But for what is carried, which has its own checks."""
    if isinstance(frame, Carried):
        return
    data = encode(frame)  # type: ignore[arg-type]
    for broken in (data[:-1], data + b"\0"):
        with pytest.raises(MalformedMessage):
            decode(broken)


def test_long_texts_are_cut() -> None:
    """A refusal fits, however much there is to say."""
    refusal = decode(encode(Refusal(Reason.WATCHES, "x" * 10_000)))
    assert refusal == Refusal(Reason.WATCHES, "x" * TEXT_BYTES)
