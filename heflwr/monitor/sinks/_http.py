"""One POST to a server that is not trusted: the body of its answer is bounded, no credentials but ours."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import os
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import requests

GZIP_BYTES = 1024
"""Smaller bodies fit into one packet as they are."""

ANSWER_BYTES = 16_384
"""Most bytes of an answer that are read, the rest is left; a collector's has forty."""

RETRY_AFTER_SECONDS = 300.0
"""The longest pause that a server's Retry-After can ask for."""

_random = random.Random()
"""Our own: the program's generator may have been seeded for a training that must come out the same again."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where to send, and how.

    Attributes:
        url: Without a slash at the end.
        authorization: Header of that name, None for none.
        verify: Check the certificate; a path names the authority to trust.
        timeout: Seconds to wait for a connection, and for each piece of an answer.
        headers: More of them, as pairs.
    """

    url: str
    authorization: str | None
    verify: bool | str
    timeout: float
    headers: tuple[tuple[str, str], ...] = ()


class Answer(NamedTuple):
    """What a server said.

    Attributes:
        status: HTTP status.
        body: At most ANSWER_BYTES.
        pause: Seconds that it asks to wait before the next request, 0 where it does not ask.
    """

    status: int
    body: bytes
    pause: float


class Trouble(Exception):
    """The server did not take something now, but may later; `pause` is how long it asked for, in seconds."""

    def __init__(self, text: str, pause: float = 0.0) -> None:
        super().__init__(text)
        self.pause = pause


class Connection:
    """Connections to one server, kept open between requests; for one thread."""

    def __init__(self, server: Server) -> None:
        """Load all that sending ever needs: the first time in a process it takes some 100 ms."""
        with loading():
            import encodings.idna  # what socket loads when it looks up its first name

            import requests
        _ = encodings.idna
        self._server = server
        self._session = requests.Session()
        self._session.auth = self._authorize  # also keeps ~/.netrc from replacing our header

    def close(self) -> None:
        """Close them."""
        self._session.close()

    def post(self, path: str, body: bytes, content_type: str, timeout: float) -> Answer:
        """Send, and return the answer.

        Raises:
            Trouble: The answer has no end.
            OSError: There is no answer; also what `requests` raises.
        """
        headers = {"Content-Type": content_type, "Accept-Encoding": "identity"}
        if len(body) > GZIP_BYTES:
            body = gzip.compress(body, compresslevel=6)
            headers["Content-Encoding"] = "gzip"
        with self._session.post(
            self._server.url + path,
            data=body,
            headers=headers,
            timeout=timeout,
            verify=self._server.verify,
            allow_redirects=False,
            stream=True,
        ) as response:
            answer = bytearray()
            until = time.monotonic() + timeout
            for piece in response.iter_content(1):  # more at a time would wait for all of it, a timeout each
                answer += piece
                if len(answer) >= ANSWER_BYTES:
                    break
                if time.monotonic() > until:
                    raise Trouble(f"{self._server.url} sends an endless answer")
            return Answer(response.status_code, bytes(answer), _seconds(response.headers.get("Retry-After", "")))

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._server.headers)
        if self._server.authorization is not None:
            request.headers["Authorization"] = self._server.authorization
        return request


@functools.cache
def loading() -> contextlib.AbstractContextManager[bool]:
    """Return what is held while modules load: a fork waits for it.

    A child that is forked while another thread imports a module can never import that module.
    """
    lock = threading.RLock()  # a signal handler may fork within a fork
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def pause_after(failures: int, limits: tuple[float, float], error: Exception) -> float:
    """Return the seconds to wait after one more failure.

    Args:
        failures: Those in a row before it.
        limits: The pause after the first one, doubled with each further one up to the second number.
        error: What went wrong; a Trouble may ask for a longer pause.
    """
    first, longest = limits
    pause = min(longest, first * 2.0 ** min(failures, 20)) * jitter()
    return max(pause, error.pause if isinstance(error, Trouble) else 0.0)


def jitter() -> float:
    """Return a random factor from 0.5 to 1, so that a fleet does not come in step."""
    return _random.uniform(0.5, 1.0)


def told(url: str, error: Exception) -> str:
    """Return what went wrong, in words."""
    return str(error) if isinstance(error, Trouble) else f"cannot reach {url}: {error}"


def reason(answer: bytes) -> str:
    """Return what an answer says went wrong, cut to a length that can be shown."""
    try:
        return str(json.loads(answer)["error"])[:500]
    except (ValueError, TypeError, LookupError, RecursionError):
        return answer[:100].decode("ascii", "replace")


def _seconds(retry_after: str) -> float:
    """Return the pause asked for, 0 where there is none; a date counts as none, clocks of boards are wrong."""
    return min(float(retry_after), RETRY_AFTER_SECONDS) if retry_after.isascii() and retry_after.isdigit() else 0.0
