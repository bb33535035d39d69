"""One request as it arrives: read within limits, or refused with a reason."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass

from heflwr.live.longpoll.bodies import CONNECTION, PATH, REQUEST_BYTES, WAIT, WAIT_SECONDS

HEAD_BYTES = 8192
HEAD_SECONDS = 65.0
"""How long a connection may say nothing between two requests."""
FIRST_SECONDS = 10.0
"""How long before its first: who connects has something to say."""
BODY_SECONDS = 20.0

_CONNECTION_FORM = re.compile(r"[0-9a-f]{32}")
_LENGTH_FORM = re.compile(r"[0-9]{1,9}")
_NAME_FORM = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: no space that a proxy would see past


class Refused(Exception):
    """The request is none of ours; the connection ends with the status."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What an agent posts, before its body."""

    host: str
    """That it calls the listener by; "" where it does not say."""
    token: str
    """"" where it has none."""
    connection: bytes
    wait_seconds: float
    length: int
    """Of the body, bytes."""


async def read_head(reader: asyncio.StreamReader, seconds: float) -> Request | None:
    """Return the next request of a connection; None where there is none within so many seconds.

    Raises:
        Refused: It is none of ours.
        OSError, asyncio.IncompleteReadError: The connection broke off.
    """
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), seconds)
    except TimeoutError:
        return None
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    except asyncio.LimitOverrunError as error:
        raise Refused("431 Request Header Fields Too Large", f"a head has at most {HEAD_BYTES} bytes") from error
    headers = _headers(head)
    length = headers.get("content-length", "")
    if not _LENGTH_FORM.fullmatch(length):
        raise Refused("411 Length Required", "give Content-Length")
    if int(length) > REQUEST_BYTES:
        raise Refused("413 Content Too Large", f"a body has at most {REQUEST_BYTES} bytes")
    kind, _, token = headers.get("authorization", "").partition(" ")
    connection = headers.get(CONNECTION, "")
    if not _CONNECTION_FORM.fullmatch(connection):
        raise Refused("400 Bad Request", f"{CONNECTION} must be 32 hexadecimal digits")
    wait = _seconds(headers.get(WAIT, "0"))
    host = re.sub(r":[0-9]*$", "", headers.get("host", "")).strip("[]")
    return Request(
        host, token.strip() if kind.lower() == "bearer" else "", bytes.fromhex(connection), wait, int(length)
    )


async def read_body(reader: asyncio.StreamReader, length: int) -> bytes:
    """Return the body of a request whose sender may have it read.

    Raises:
        Refused: It takes too long.
        OSError, asyncio.IncompleteReadError: The connection broke off.
    """
    try:
        return await asyncio.wait_for(reader.readexactly(length), BODY_SECONDS)
    except TimeoutError as error:
        raise Refused("408 Request Timeout", f"a body takes at most {BODY_SECONDS:g} s") from error


def _headers(head: bytes) -> dict[str, str]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused("400 Bad Request", "this is no HTTP/1.1")
    if words[1] != PATH:
        raise Refused("404 Not Found", f"agents of heflwr post to {PATH}")
    if words[0] != "POST":
        raise Refused("405 Method Not Allowed", f"agents of heflwr post to {PATH}")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not _NAME_FORM.fullmatch(name) or name == "transfer-encoding":
            raise Refused("400 Bad Request", f"this header is not understood: {line[:100]!r}")
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return headers


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Refused("400 Bad Request", f"{WAIT} must be seconds >= 0")
    return min(seconds, WAIT_SECONDS)
