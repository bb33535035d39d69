"""The thread that carries rows to the collector: in batches, again and again until they are taken, never in haste."""

from __future__ import annotations

import contextlib
import functools
import gzip
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heflwr.monitor.sinks._outbox import Batch, Outbox

if TYPE_CHECKING:
    import requests

BATCH_SECONDS = 3.0
"""Shortest time between two requests: each costs as much as several samples, and a page that lags so long is live."""

BATCH_ROWS = 500
"""Most rows in a request, some 60 KB: well below what a collector takes."""

GZIP_BYTES = 1024
"""Smaller bodies fit into one packet as they are."""

BACKOFF_SECONDS = (0.5, 30.0)
"""Pause after the first failure, doubled with each further one up to the second number; half of it is random, so that a
fleet does not come back in step."""

RETRY_AFTER_SECONDS = 300.0
"""The longest pause that a server's Retry-After can ask for."""

ANSWER_BYTES = 65_536
"""Most bytes of an answer that are read; a collector's has forty."""

REFUSED_IN_A_ROW = 3
"""So many single rows refused one after the other: it is not the rows. From there whole batches are given up."""

LEFTOVERS_AT_ONCE = 8
"""Former runs that are held at a time; each costs a descriptor, and after many crashes there are hundreds."""

_random = random.Random()
"""Our own: the program's generator may have been seeded for a training that must come out the same again."""

TOO_LARGE = 413
REFUSED = 400

_logger = logging.getLogger("heflwr.monitor")


@dataclass(frozen=True, slots=True)
class Collector:
    """Where to send, and how.

    Attributes:
        url: Without a slash at the end.
        token: Bearer token, None for none.
        verify: Check the certificate; a path names the authority to trust.
        timeout: Seconds to wait for a connection, and for each piece of an answer.
    """

    url: str
    token: str | None
    verify: bool | str
    timeout: float


@dataclass(slots=True)
class Tally:
    """What became of the rows.

    Attributes:
        sent: Rows that the collector has acknowledged.
        refused: Rows that it will never take, or that were lost with a finished outbox.
        last_error: The latest trouble, in words; "" if there was none.
    """

    sent: int = 0
    refused: int = 0
    last_error: str = ""


class _Trouble(Exception):
    """The collector did not take a batch now, but may later; `pause` is how long it asked for, in seconds."""

    def __init__(self, text: str, pause: float = 0.0) -> None:
        super().__init__(text)
        self.pause = pause


class Sender:
    """Empties outboxes, those of former runs first, each in order."""

    def __init__(
        self, collector: Collector, outboxes: Sequence[Outbox], claim_leftover: Callable[[], Outbox | None]
    ) -> None:
        self.tally = Tally()
        self._collector = collector
        self._outboxes = tuple(outboxes)
        self._claim_leftover = claim_leftover
        self._leftovers: tuple[Outbox, ...] = ()  # replaced, never changed: facts() reads it from another thread
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._limit = BATCH_ROWS
        self._failures = 0
        self._pause = 0.0
        self._next_at = float("-inf")
        self._refused_in_a_row = 0
        self._thread = threading.Thread(target=self._run, name="heflwr-remote-sender", daemon=True)

    def start(self) -> None:
        """Begin."""
        _loading()
        self._thread.start()

    def wake(self) -> None:
        """Say that a row has come."""
        if not self._wake.is_set():
            self._wake.set()

    def close(self, seconds: float) -> None:
        """Send what is there, for so many seconds at most, and end; a hanging request is left to itself."""
        self._deadline = time.monotonic() + seconds
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds)

    @property
    def outboxes(self) -> tuple[Outbox, ...]:
        """What is being emptied, in order."""
        return (*self._leftovers, *self._outboxes)

    def _run(self) -> None:
        session: requests.Session | None = None
        try:
            with contextlib.ExitStack() as stack:
                while self._is_due():
                    try:
                        session = session or stack.enter_context(self._session())
                        self._send(session)
                    except Exception as error:  # a network can fail in a hundred ways; all mean: later
                        self._failed(error)
        finally:
            for leftover in self._leftovers:
                leftover.close()

    def _session(self) -> requests.Session:
        """Return connections to the collector; the first one loads all that sending ever needs, some 100 ms."""
        with _loading():
            import encodings.idna  # what socket loads when it looks up its first name

            import requests
        _ = encodings.idna
        session = requests.Session()
        session.auth = self._authorize  # also keeps ~/.netrc from replacing our header
        return session

    def _is_due(self) -> bool:
        """Wait until there is something to send and it is time to; False when it is time to end."""
        self._renew_leftovers()
        if self._closing.is_set():
            left = self._deadline - time.monotonic()
            if self._failures >= 2 or (self._failures and self._pause > left):
                return False  # down since before the end, or still down at a second try
            time.sleep(self._pause if self._failures else 0.0)
            return self._is_worth_a_last_try()
        if self._failures:
            self._closing.wait(self._pause)
        elif not self._leftovers and self._waiting() < BATCH_ROWS:
            self._closing.wait(self._next_at - time.monotonic())
        self._wake.clear()
        if not self._waiting() and not self._closing.is_set():  # close() sets it before it wakes us
            self._wake.wait()
        self._next_at = time.monotonic() + BATCH_SECONDS
        return not self._closing.is_set() or self._is_worth_a_last_try()

    def _waiting(self) -> int:
        return sum(outbox.waiting for outbox in self.outboxes)

    def _renew_leftovers(self) -> None:
        """Let go of former runs of which all is sent, and claim others in their place."""
        for leftover in self._leftovers:
            if not leftover.waiting:
                self._leftovers = tuple(other for other in self._leftovers if other is not leftover)
                self._settle(leftover)
        try:
            while len(self._leftovers) < LEFTOVERS_AT_ONCE and time.monotonic() < self._deadline:
                found = self._claim_leftover()
                if found is None:
                    return
                if found.waiting:
                    self._leftovers = (*self._leftovers, found)
                else:
                    self._settle(found)
        except OSError as error:
            self._tell(f"cannot read what former runs left in the spool: {error}")

    def _settle(self, leftover: Outbox) -> None:
        leftover.close()
        self.tally.refused += leftover.dropped

    def _is_worth_a_last_try(self) -> bool:
        return time.monotonic() < self._deadline and self._waiting() > 0

    def _send(self, session: requests.Session) -> None:
        trouble = ""
        for outbox in self.outboxes:
            try:
                batch = outbox.peek(self._limit)
            except OSError as error:  # no descriptor is free, say; the others may have theirs open
                trouble = f"cannot read the spool: {error}"
                continue
            if batch is not None:
                break
        else:
            if trouble:
                raise _Trouble(trouble)
            return
        status, answer, pause = self._post(session, batch)
        if 200 <= status < 300 and _is_receipt(answer, len(batch.rows)):
            self._taken(outbox, batch)
        elif status in (REFUSED, TOO_LARGE):
            self._refused(outbox, batch, f"{self._collector.url} answered {status}: {_reason(answer)}")
        elif 200 <= status < 300:
            raise _Trouble(f"{self._collector.url} answered {status}, but not as a heflwr collector does")
        elif 300 <= status < 400:
            raise _Trouble(f"{self._collector.url} redirects, which is not followed; give the final address as host")
        else:
            raise _Trouble(f"{self._collector.url} answered {status}: {_reason(answer)}", pause)

    def _post(self, session: requests.Session, batch: Batch) -> tuple[int, bytes, float]:
        """Return the status, the start of the answer and the pause that the server asks for."""
        body = batch.body()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if len(body) > GZIP_BYTES:
            body = gzip.compress(body, compresslevel=6)
            headers["Content-Encoding"] = "gzip"
        timeout = self._collector.timeout
        if self._closing.is_set():
            timeout = max(0.01, min(timeout, self._deadline - time.monotonic()))
        with session.post(
            self._collector.url + batch.path,
            data=body,
            headers=headers,
            timeout=timeout,
            verify=self._collector.verify,
            allow_redirects=False,
            stream=True,
        ) as response:
            answer = b""
            until = time.monotonic() + timeout
            for piece in response.iter_content(64):
                answer += piece
                if len(answer) > ANSWER_BYTES or time.monotonic() > until:
                    raise _Trouble(f"{self._collector.url} sends an endless answer")
            return response.status_code, answer, _seconds(response.headers.get("Retry-After", ""))

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._collector.token is not None:
            request.headers["Authorization"] = f"Bearer {self._collector.token}"
        return request

    def _taken(self, outbox: Outbox, batch: Batch) -> None:
        outbox.forget(batch)
        self.tally.sent += len(batch.rows)
        self._limit = min(BATCH_ROWS, 2 * self._limit)
        self._failures = self._refused_in_a_row = 0
        self._pause = 0.0

    def _refused(self, outbox: Outbox, batch: Batch, reason: str) -> None:
        """Find the row that the collector will never take, by halves, and give it up."""
        self.tally.last_error = reason
        self._failures = 0  # it is there, and it answers
        if len(batch.rows) > 1 and self._refused_in_a_row < REFUSED_IN_A_ROW:
            self._limit = len(batch.rows) // 2
            return
        outbox.forget(batch)
        self.tally.refused += len(batch.rows)
        self._refused_in_a_row += 1
        if self._refused_in_a_row == REFUSED_IN_A_ROW:
            self._limit = BATCH_ROWS
        if self._refused_in_a_row == 1:
            _logger.warning("samples were refused for good: %s", reason)

    def _failed(self, error: Exception) -> None:
        first, longest = BACKOFF_SECONDS
        pause = min(longest, first * 2.0 ** min(self._failures, 20)) * _random.uniform(0.5, 1.0)
        self._failures += 1
        self._pause = max(pause, error.pause if isinstance(error, _Trouble) else 0.0)
        text = str(error) if isinstance(error, _Trouble) else f"cannot reach {self._collector.url}: {error}"
        self._tell(text)

    def _tell(self, trouble: str) -> None:
        if not self.tally.last_error:
            _logger.warning("samples wait, and are sent as soon as it works: %s", trouble)
        self.tally.last_error = trouble


@functools.cache
def _loading() -> contextlib.AbstractContextManager[bool]:
    """Return what is held while modules load: a fork waits for it.

    A child that is forked while another thread imports a module can never import that module.
    """
    lock = threading.RLock()  # a signal handler may fork within a fork
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def _is_receipt(answer: bytes, rows: int) -> bool:
    """Return True where a collector says that it has all the rows; anything else that says 200 is no collector."""
    try:
        receipt = json.loads(answer)
        return bool(receipt["accepted"] + receipt["duplicates"] == rows)
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def _reason(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"])[:500]
    except (ValueError, TypeError, LookupError, RecursionError):
        return answer[:100].decode("ascii", "replace")


def _seconds(retry_after: str) -> float:
    """Return the pause asked for, 0 where there is none; a date counts as none, clocks of boards are wrong."""
    return min(float(retry_after), RETRY_AFTER_SECONDS) if retry_after.isascii() and retry_after.isdigit() else 0.0
