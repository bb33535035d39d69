"""The one busy door, POST /simple_log and /log, as plain WSGI: a Flask view costs three times what it does itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

from werkzeug.wrappers import Request

from heflwr.collector.answers import Answer, refusal_of
from heflwr.collector.counters import Counters
from heflwr.collector.guard import Guard
from heflwr.collector.ingest import parse, read_body
from heflwr.collector.records import LineBatch, Refusal, SampleBatch
from heflwr.collector.store import Store, StoreFailed

PATHS = ("/simple_log", "/log")


class Gate:
    """Takes what monitors send, and leaves every other request to the application behind it."""

    def __init__(
        self, application: Callable[..., Iterable[bytes]], store: Store, guard: Guard, counters: Counters
    ) -> None:
        self._application = application
        self._store = store
        self._guard = guard
        self._counters = counters

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request, by the rules of WSGI."""
        if environ.get("PATH_INFO") not in PATHS:
            return self._application(environ, start_response)
        try:
            answer = Answer(200, self._ingest(Request(environ)))
        except (Refusal, StoreFailed) as error:
            answer = refusal_of(error, self._counters)
        body = json.dumps(answer.body).encode() + b"\n"
        start_response(answer.status_line, [*answer.headers, ("Content-Length", str(len(body)))])
        return [body]

    def _ingest(self, request: Request) -> dict[str, int]:
        if request.method != "POST":
            raise Refusal(405, "http", f"{request.path} takes POST", allow="POST")
        access = self._guard.admit(request)
        body = read_body(cast(Any, request.stream), request.headers.get("Content-Encoding", ""))
        batch = parse(body, request.mimetype)
        self._guard.may_write(access, batch.identifier)
        if isinstance(batch, LineBatch):
            accepted = self._store.add_lines(batch)
            self._counters.lines.inc(accepted)
            return {"accepted": accepted, "duplicates": len(batch.lines) - accepted}
        return store_samples(self._store, self._counters, (batch,))


def store_samples(store: Store, counters: Counters, batches: tuple[SampleBatch, ...]) -> dict[str, int]:
    """Store batches in one transaction, and count them."""
    sent = sum(len(batch.rows) for batch in batches)
    accepted = store.add_samples(*batches)
    counters.accepted.inc(accepted)
    counters.duplicates.inc(sent - accepted)
    now = time.time()
    for batch in batches:
        if batch.rows:
            counters.lag.observe(max(0.0, now - max(row.time for row in batch.rows)))
    return {"accepted": accepted, "duplicates": sent - accepted}
