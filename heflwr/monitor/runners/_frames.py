"""What goes over the pipe between a monitor and its agent: frames of a kind, a length and a payload."""

from __future__ import annotations

import struct
from typing import BinaryIO

READY = 1  # JSON report: handles are open, baselines set
REFUSED = 2  # JSON [class name, text]: why start() must fail
SAMPLE = 3  # token, sequence, time, elapsed, values
REPORT = 4  # JSON report
SYNCED = 5  # token: everything before it has been sent
BYE = 6  # JSON report: ended in order

_HEADER = struct.Struct("<BI")
SAMPLE_HEAD = struct.Struct("<IQdd")
TOKEN = struct.Struct("<I")
COMMAND = struct.Struct("<4sI")
"""From the monitor to the agent: the first four letters of a command of `sampling`, and a token; behind a TELL, whose
token says how many bytes they are, the window's JSON."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return _HEADER.pack(kind, len(payload)) + payload


FRAME_BYTES = 1 << 20
"""Largest payload; a report of a hundred sinks has a tenth of it."""


def read_frame(stream: BinaryIO) -> tuple[int, bytes] | None:
    """Return the next frame, or None at the end of the stream (also one cut short by a killed writer).

    Raises:
        ValueError: What comes is no frame.
    """
    head = stream.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    kind, length = _HEADER.unpack(head)
    if not READY <= kind <= BYE or length > FRAME_BYTES:
        raise ValueError(f"no frame begins with {head!r}")
    payload = stream.read(length)
    return (kind, payload) if len(payload) == length else None
