"""Bodies of requests and answers: messages, each behind its size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from heflwr.automon import codec
from heflwr.automon.errors import MalformedMessage
from heflwr.live import frames

PATH = "/live"
CONTENT_TYPE = "application/octet-stream"
CONNECTION, WAIT = "heflwr-connection", "heflwr-wait"
"""Headers, in lower case."""

REQUEST_BYTES, ANSWER_BYTES = 4 * frames.MOST_BYTES, 2 * codec.MOST_BYTES
"""Longest bodies; a longer request is refused before it is read. A zone may be larger than what an agent says."""

MOST_MESSAGES = 1000
"""That may wait for one request, either way."""

WAIT_SECONDS = 20.0
"""Longest that an answer is held back: most proxies and NATs keep a silent connection for a minute."""

_SIZE = 4


def joined(messages: Iterable[bytes]) -> bytes:
    """Return a body."""
    return b"".join(len(message).to_bytes(_SIZE, "little") + message for message in messages)


def taken(waiting: deque[bytes], most: int) -> list[bytes]:
    """Take out of a queue what goes into one body of so many bytes."""
    found: list[bytes] = []
    size = 0
    while waiting and size + _SIZE + len(waiting[0]) <= most:
        found.append(waiting.popleft())
        size += _SIZE + len(found[-1])
    return found


def split(body: bytes) -> list[bytes]:
    """Return the messages of a body.

    Raises:
        MalformedMessage: It is none.
    """
    found: list[bytes] = []
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + _SIZE], "little")
        message = body[at + _SIZE : at + _SIZE + size]
        if at + _SIZE > len(body) or len(message) < size:
            raise MalformedMessage(f"a message of {size} bytes does not fit into the body")
        if len(found) == MOST_MESSAGES:
            raise MalformedMessage(f"a body has at most {MOST_MESSAGES} messages")
        found.append(message)
        at += _SIZE + size
    return found
