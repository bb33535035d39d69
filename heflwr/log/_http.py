"""Log lines sent to a collector: whoever logs only leaves a line in a bounded queue, a thread of its own sends."""

from __future__ import annotations

import contextlib
import encodings.idna
import http.client
import json
import logging
import math
import os
import platform
import random
import ssl
import threading
import time
from collections import deque
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

QUEUE_LINES = 10_000
"""Lines that wait at most, a few MB; when it is full the oldest go, and are counted."""

MESSAGE_LENGTH = 16_384
"""Characters of a message or a traceback that are sent; the rest is cut off."""

BATCH_LINES = 50
"""Most lines in a request: with both texts of each at their longest, and escaped, they still fit a collector."""

FLUSH_SECONDS = 2.0
"""Longest that the end of the program, or the next configure(), waits for the last lines to get through."""

PAUSE_SECONDS = (0.5, 30.0)
"""After the first failure, doubled up to the second number; half of it is random."""

_random = random.Random()
"""Our own: the program's generator may have been seeded for a training that must come out the same again."""

RETRY_AFTER_SECONDS = 300.0
"""The longest pause that a server's Retry-After can ask for."""

ANSWER_BYTES = 65_536

_FOR_GOOD = frozenset({400, 413, 415, 422})
"""Answers after which the same lines need not be sent again."""


_LOADED = encodings.idna
"""Loaded by socket when it looks up its first name. A child forked during that import, in our thread, would hang."""


class HttpHandler(logging.Handler):
    """Never blocks and never raises, whatever the collector does. `dropped` counts the lines that were lost."""

    def __init__(
        self,
        identifier: str,
        host: str,
        simple: bool,
        *,
        token: str | None = None,
        verify: bool | str = True,
        timeout: float = 5.0,
    ) -> None:
        """Check the arguments, which are those of `configure`; the thread starts with the first line.

        Raises:
            ValueError: A host, a token or a timeout that cannot be meant.
            TypeError: A value of the wrong type.
            OSError: The authority's certificate cannot be read.
        """
        super().__init__()
        self.dropped = 0  # changes under _guard: whoever logs and the sender both count
        self._is_secure, self._host, self._port, path = _address(host)
        self._path = path + ("/simple_log" if simple else "/log")
        self._is_simple = simple
        self._identifier = identifier.encode("utf-8", "backslashreplace").decode()
        self._headers = {"Content-Type": "application/json"} | _authorization(token)
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
            raise TypeError(f"timeout must be a number, got {timeout!r} ({type(timeout).__name__})")
        if not (timeout > 0 and math.isfinite(timeout)):
            raise ValueError(f"timeout must be > 0 seconds, got {timeout!r}")
        self._timeout = timeout
        self._tls = _tls(verify) if self._is_secure else None
        self._about: dict[str, Any] = {} if simple else {"host": platform.node()}
        self._begin()

    def _begin(self) -> None:
        """Start with nothing; a forked child does so again, since lines and thread are its parent's."""
        self._pid = os.getpid()
        self._run = os.urandom(8).hex()
        self._sequence = 0
        self._queue: deque[dict[str, Any]] = deque()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = math.inf
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._pid != os.getpid():
                self._begin()
            line = self._line(record)
            with self._guard:
                if len(self._queue) >= QUEUE_LINES:
                    self._queue.popleft()
                    self.dropped += 1
                self._queue.append(line)
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._send_all, name="heflwr-log-sender", daemon=True)
                self._thread.start()
            self._wake.set()
        except Exception:  # a message that does not fit its arguments, no thread at the interpreter's end
            with self._guard:
                self.dropped += 1
            self.handleError(record)

    def close(self) -> None:
        """Wait for the last lines to get through, FLUSH_SECONDS at most; what is left is counted as dropped."""
        if self._pid == os.getpid() and not self._closing.is_set():
            self._deadline = time.monotonic() + FLUSH_SECONDS
            self._closing.set()
            self._wake.set()
            if self._thread is not None:
                self._thread.join(FLUSH_SECONDS)
            with self._guard:
                self.dropped += len(self._queue)
                self._queue.clear()
        super().close()

    def _line(self, record: logging.LogRecord) -> dict[str, Any]:
        line: dict[str, Any] = {
            "sequence": self._sequence,
            "time": record.created,
            "message": _text(record.getMessage()),
        }
        self._sequence += 1
        if not self._is_simple:
            line |= self._about
            line |= {
                "level": _text(record.levelname),
                "logger": _text(record.name),
                "file": _text(record.pathname),
                "line": record.lineno,
                "function": _text(record.funcName or ""),
                "pid": record.process or 0,
                "thread": _text(record.threadName or ""),
            }
            if record.exc_info and record.exc_info[0] is not None:
                line["exception"] = _text(_TRACEBACKS.formatException(record.exc_info))
        return line

    def _send_all(self) -> None:
        failures, asked = 0, 0.0
        while self._is_due(failures, asked):
            with self._guard:
                batch = list(islice(self._queue, BATCH_LINES))
            status, answer, asked = 0, b"", 0.0
            with contextlib.suppress(Exception):  # any failure of the network means: later
                status, answer, asked = self._post(batch)
            is_taken = 200 <= status < 300 and _is_receipt(answer, len(batch))
            if is_taken or status in _FOR_GOOD:
                failures, asked = 0, 0.0
                self._forget(batch, is_taken)
            else:
                failures += 1

    def _forget(self, batch: list[dict[str, Any]], is_taken: bool) -> None:
        """Let go of lines, and count them: a full queue may have given up some while they were on their way."""
        left = 0
        with self._guard:
            while self._queue and self._queue[0]["sequence"] <= batch[-1]["sequence"]:
                self._queue.popleft()
                left += 1
            self.dropped += left - len(batch) if is_taken else left

    def _is_due(self, failures: int, asked: float) -> bool:
        """Wait until there is something to send and it is time to; False when it is time to end.

        Args:
            failures: Attempts that failed since the last one that did not.
            asked: Seconds that the collector wants to be left alone.
        """
        if not self._closing.is_set():
            self._wake.clear()
            if not self._queue:
                self._wake.wait()
            if failures:
                first, longest = PAUSE_SECONDS
                pause = min(longest, first * 2.0 ** min(failures - 1, 20)) * _random.uniform(0.5, 1.0)
                self._closing.wait(max(asked, pause))
        elif failures:
            return False
        return bool(self._queue) and time.monotonic() < self._deadline

    def _post(self, batch: list[dict[str, Any]]) -> tuple[int, bytes, float]:
        """Return the status, the start of the answer and the pause that the server asks for."""
        timeout = min(self._timeout, max(0.01, self._deadline - time.monotonic()))
        connection: http.client.HTTPConnection
        if self._tls is not None:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        body = json.dumps({"identifier": self._identifier, "run": self._run, "lines": batch})
        with contextlib.closing(connection):
            connection.request("POST", self._path, body.encode(), self._headers)
            response = connection.getresponse()
            answer = response.read(ANSWER_BYTES)
            return response.status, answer, _seconds(response.headers.get("Retry-After", ""))


_TRACEBACKS = logging.Formatter()


def _is_receipt(answer: bytes, lines: int) -> bool:
    """Return True where a collector says that it has all the lines; anything else that says 200 is no collector."""
    try:
        receipt = json.loads(answer)
        return bool(receipt["accepted"] + receipt["duplicates"] == lines)
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def _seconds(retry_after: str) -> float:
    """Return the pause asked for, 0 where there is none; a date counts as none, clocks of boards are wrong."""
    return min(float(retry_after), RETRY_AFTER_SECONDS) if retry_after.isascii() and retry_after.isdigit() else 0.0


def _text(text: str) -> str:
    return text[:MESSAGE_LENGTH].encode("utf-8", "backslashreplace").decode()


def _address(host: str) -> tuple[bool, str, int, str]:
    """Return is https, name, port and path."""
    if not isinstance(host, str):
        raise TypeError(f"host must be a string, got {host!r} ({type(host).__name__})")
    way_out = "write 'name:port', 'http://name:port' or 'https://name:port'"
    try:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"host must be an address, got {host!r} ({error}); {way_out}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not host.isprintable() or " " in host:
        raise ValueError(f"host must be an address, got {host!r}; {way_out}")
    if "://" not in host and port is None:
        raise ValueError(f"host has no port, got {host!r}; {way_out}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"host must be an address alone; {way_out}, and give a secret as token=")
    is_secure = parts.scheme == "https"
    return is_secure, parts.hostname, port or (443 if is_secure else 80), parts.path.rstrip("/")


def _authorization(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if not isinstance(token, str):
        raise TypeError(f"token must be a string, got {type(token).__name__}")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("token must be visible ASCII characters without blanks; it travels in a header")
    return {"Authorization": f"Bearer {token}"}


def _tls(verify: bool | str) -> ssl.SSLContext:
    if not isinstance(verify, bool):
        return ssl.create_default_context(cafile=verify)
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
