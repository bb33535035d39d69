"""The one busy door, POST /simple_log and /log, without Flask, whose view costs three times what it does itself.

A server that can goes through begin(): no thread waits for the disk, where to wake it costs more than all the rest.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from werkzeug.wrappers import Request

from heflwr.collector.answers import Answer, refusal_of
from heflwr.collector.counters import Counters
from heflwr.collector.guard import Guard
from heflwr.collector.ingest import parse, read_body
from heflwr.collector.pace import Pace
from heflwr.collector.records import LineBatch, Refusal, SampleBatch
from heflwr.collector.store import Store, StoreFailed

PATHS = ("/simple_log", "/log")

SMALL_BYTES = 1 << 15
"""Largest body, unpacked, that begin() takes: some three hundred rows, checked in two milliseconds."""


class Gate:
    """Takes what monitors send, and leaves every other request to the application behind it."""

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        store: Store,
        guard: Guard,
        counters: Counters,
        pace: Pace,
    ) -> None:
        self._application = application
        self._store = store
        self._guard = guard
        self._counters = counters
        self._pace = pace

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request, by the rules of WSGI."""
        if environ.get("PATH_INFO") not in PATHS:
            return self._application(environ, start_response)
        request = Request(environ)
        told: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        with contextlib.suppress(StoreFailed):  # who needs the tokens is told by admit()
            self._guard.renew()  # who waits here waits for begin()
        self._take(request, lambda: body_of(request), told.put)
        answer = told.get()
        body = answer.content
        start_response(answer.status_line, [*answer.headers, ("Content-Length", str(len(body)))])
        return [] if request.method == "HEAD" else [body]

    def begin(self, environ: dict[str, Any], tell: Callable[[Answer], None]) -> bool:
        """Begin to answer a request without waiting for anything.

        Args:
            environ: As for WSGI; the whole body is there.
            tell: Called once with the answer, now or later, from any thread.

        Returns:
            Whether this is done here; if not, nothing has happened, and a thread should make the WSGI call.
        """
        if (
            environ["PATH_INFO"] not in PATHS
            or int(environ.get("CONTENT_LENGTH") or 0) > SMALL_BYTES
            or not self._guard.is_current
            or self._guard.asks()  # one thread waits for that, and perhaps for the disk, not all that come meanwhile
        ):
            return False
        stream = environ["wsgi.input"]
        try:
            body = read_body(stream, environ.get("HTTP_CONTENT_ENCODING", ""), SMALL_BYTES)
        except Refusal:  # whoever may take its time says why
            stream.seek(0)
            return False
        self._take(Request(environ), lambda: body, tell)
        return True

    def _take(self, request: Request, read: Callable[[], bytes], tell: Callable[[Answer], None]) -> None:
        def done(outcome: int | StoreFailed | Refusal) -> None:
            if isinstance(outcome, int):
                seconds = self._pace.heard(batch.identifier)
                extra = {"Retry-After": str(seconds)} if seconds > 1 else {}
                tell(Answer(200, self._counted(batch, outcome), extra))
            else:
                tell(refusal_of(outcome, self._counters))

        try:
            if request.method != "POST":
                raise Refusal(405, "http", f"{request.path} takes POST", allow="POST")
            access = self._guard.admit(request)
            batch = parse(read(), request.mimetype)
            self._guard.may_write(access, batch.identifier)
            if isinstance(batch, LineBatch):
                self._store.submit_lines(batch, done)
            else:
                self._store.submit_samples(batch, done)
        except (Refusal, StoreFailed) as error:
            tell(refusal_of(error, self._counters))

    def _counted(self, batch: SampleBatch | LineBatch, accepted: int) -> dict[str, int]:
        if isinstance(batch, LineBatch):
            self._counters.lines.inc(accepted)
            return {"accepted": accepted, "duplicates": len(batch.lines) - accepted}
        return count_samples(self._counters, (batch,), accepted)


def body_of(request: Request) -> bytes:
    """Return the body of a request, unpacked; raises as read_body()."""
    return read_body(cast(Any, request.stream), request.headers.get("Content-Encoding", ""))


def count_samples(counters: Counters, batches: Sequence[SampleBatch], accepted: int) -> dict[str, int]:
    """Count batches that were stored, and return what their sender is told."""
    sent = sum(len(batch.rows) for batch in batches)
    counters.accepted.inc(accepted)
    counters.duplicates.inc(sent - accepted)
    now = time.time()
    for batch in batches:
        if batch.rows:
            counters.lag.observe(max(0.0, now - max(row.time for row in batch.rows)))
    return {"accepted": accepted, "duplicates": sent - accepted}
