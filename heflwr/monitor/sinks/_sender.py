"""The thread that carries rows to a server: in batches, again and again until they are taken, never in haste."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from heflwr.monitor.sinks._http import Answer, Connection, Server, Trouble, loading, pause_after, reason, told
from heflwr.monitor.sinks._outbox import Batch, Outbox

BATCH_SECONDS = 3.0
"""Shortest time between two requests: each costs as much as several samples, and a page that lags so long is live."""

PACE_SECONDS = 60.0
"""Longest such time that a server of many clients can ask for with the Retry-After of a receipt."""

BATCH_ROWS = 500
"""Most rows in a request, some 60 KB: well below what a collector takes."""

BACKOFF_SECONDS = (0.5, 30.0)
"""Pause after the first failure, doubled with each further one up to the second number; half of it is random."""

REFUSED_IN_A_ROW = 3
"""So many single rows refused one after the other: it is not the rows. From there whole batches are given up."""

LEFTOVERS_AT_ONCE = 8
"""Former runs that are held at a time; each costs a descriptor, and after many crashes there are hundreds."""

_logger = logging.getLogger("heflwr.monitor")


class Wire(Protocol):
    """What a kind of server wants to read, and how it says that it has it. An adapter is a frozen value."""

    name: str
    """For messages: "a heflwr collector"."""

    content_type: str

    refusals: frozenset[int]
    """Statuses that say: never, not as it is."""

    def body(self, batch: Batch) -> bytes:
        """Return the request's body."""

    def samples(self, batch: Batch) -> int:
        """Return how many of the rows are samples."""

    def is_receipt(self, answer: Answer, batch: Batch) -> bool:
        """Return True where the answer says that all rows are there; any other 2xx is not from such a server."""


class Post(Protocol):
    """What carries bodies to one server, for one thread; `_http.Connection` is one."""

    def post(self, path: str, body: bytes, content_type: str, timeout: float) -> Answer:
        """Send, and return the answer; raises Trouble or any other error where there is none."""

    def close(self) -> None:
        """Give handles back."""


@dataclass(slots=True)
class Tally:
    """What became of the rows.

    Attributes:
        sent: Samples that the server has acknowledged.
        refused: Rows that it will never take, or that were lost with a finished outbox.
        last_error: The latest trouble, in words; "" if there was none.
    """

    sent: int = 0
    refused: int = 0
    last_error: str = ""


class Sender:
    """Empties outboxes, those of former runs first, each in order."""

    def __init__(
        self,
        server: Server,
        wire: Wire,
        outboxes: Sequence[Outbox],
        claim_leftover: Callable[[], Outbox | None],
        connect: Callable[[Server], Post] = Connection,
    ) -> None:
        self.tally = Tally()
        self._server = server
        self._wire = wire
        self._outboxes = tuple(outboxes)
        self._claim_leftover = claim_leftover
        self._connect = connect
        self._leftovers: tuple[Outbox, ...] = ()  # replaced, never changed: facts() reads it from another thread
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._limit = BATCH_ROWS
        self._failures = 0
        self._pause = 0.0
        self._pace = BATCH_SECONDS
        self._sent_at = float("-inf")
        self._refused_in_a_row = 0
        self._thread = threading.Thread(target=self._run, name="heflwr-remote-sender", daemon=True)

    def start(self) -> None:
        """Begin."""
        loading()
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
        connection: Post | None = None
        try:
            with contextlib.ExitStack() as stack:
                while self._is_due():
                    try:
                        connection = connection or stack.enter_context(contextlib.closing(self._connect(self._server)))
                        self._send(connection)
                    except Exception as error:  # a network can fail in a hundred ways; all mean: later
                        self._failed(error)
        finally:
            for leftover in self._leftovers:
                leftover.close()

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
            seconds = (
                self._pace if self._limit >= BATCH_ROWS else BATCH_SECONDS
            )  # or it looks for a row that is refused
            self._closing.wait(self._sent_at + seconds - time.monotonic())
        self._wake.clear()
        if not self._waiting() and not self._closing.is_set():  # close() sets it before it wakes us
            self._wake.wait()
        self._sent_at = time.monotonic()
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

    def _send(self, connection: Post) -> None:
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
                raise Trouble(trouble)
            return
        timeout = self._server.timeout
        if self._closing.is_set():
            timeout = max(0.01, min(timeout, self._deadline - time.monotonic()))
        answer = connection.post(batch.path, self._wire.body(batch), self._wire.content_type, timeout)
        says = f"{self._server.url} answered {answer.status}"
        if 200 <= answer.status < 300 and self._wire.is_receipt(answer, batch):
            self._taken(outbox, batch)
            self._pace = max(BATCH_SECONDS, min(answer.pause, PACE_SECONDS))
        elif answer.status in self._wire.refusals:
            self._refused(outbox, batch, f"{says}: {reason(answer.body)}")
        elif 200 <= answer.status < 300:
            raise Trouble(f"{says}, but not as {self._wire.name} does")
        elif 300 <= answer.status < 400:
            raise Trouble(f"{self._server.url} redirects, which is not followed; give the final address")
        else:
            raise Trouble(f"{says}: {reason(answer.body)}", answer.pause)

    def _taken(self, outbox: Outbox, batch: Batch) -> None:
        outbox.forget(batch)
        self.tally.sent += self._wire.samples(batch)
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
        self._pause = pause_after(self._failures, BACKOFF_SECONDS, error)
        self._failures += 1
        self._tell(told(self._server.url, error))

    def _tell(self, trouble: str) -> None:
        if not self.tally.last_error:
            _logger.warning("samples wait, and are sent as soon as it works: %s", trouble)
        self.tally.last_error = trouble
