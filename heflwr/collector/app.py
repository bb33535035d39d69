"""The collector's endpoints: a Flask app over a store. What each takes and answers is in docs/collector.md."""

from __future__ import annotations

import hmac
import logging
import os
import sqlite3
from collections.abc import Callable
from typing import Any, cast

from flask import Flask, Response, jsonify, request
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException

from heflwr.collector.ingest import TIME_RANGE, parse, read_body
from heflwr.collector.records import Refusal, SampleBatch
from heflwr.collector.store import Store

LIMIT_DEFAULT = 1_000
LIMIT_MAX = 10_000
"""Most rows in one answer: about a megabyte. Ask again with `until` for older ones."""

RETRY_SECONDS = 10
"""What a sender is told to wait when the database cannot take more now."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Answers are data for programs: a browser shall neither run, frame, guess nor keep them."""

_logger = logging.getLogger("heflwr.collector")


class _Counters:
    """What the collector tells of itself, in a registry of its own."""

    def __init__(self, store: Store) -> None:
        self.registry = CollectorRegistry()
        self.accepted = self._counter("samples_accepted", "Samples stored.")
        self.duplicates = self._counter("samples_duplicate", "Samples that were stored already.")
        self.lines = self._counter("lines_accepted", "Log lines stored.")
        self.refused = Counter(
            "heflwr_collector_requests_refused", "Requests refused, by reason.", ["reason"], registry=self.registry
        )
        size = Gauge("heflwr_collector_store_bytes", "Size of the database on disk.", registry=self.registry)
        size.set_function(store.size_bytes)

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(f"heflwr_collector_{name}", help, registry=self.registry)


def create_app(database: str | os.PathLike[str] | Store, *, token: str | None = None) -> Flask:
    """Return the collector as a WSGI application.

    Args:
        database: Path of the SQLite file, created where it does not exist; or a store that is open. The caller closes
            it; `app.extensions["heflwr.collector"]` is the one that a path opened.
        token: Bearer token that every request but /healthz must carry; None asks for none.

    Raises:
        StoreUnavailable: The database cannot be had.
        ValueError: An empty token.
    """
    if token is not None and not token:
        raise ValueError("token must not be empty; leave it out to ask for none")
    if isinstance(database, Store):
        store = database
    else:
        store = Store(database)
        store.open()
    app = Flask("heflwr.collector", static_folder=None)
    app.extensions["heflwr.collector"] = store
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    counters = _Counters(store)
    _add_guard(app, token)
    _add_answers(app, counters)
    _add_ingest(app, store, counters)
    _add_queries(app, store)

    def metrics() -> Response:
        return Response(generate_latest(counters.registry), content_type=CONTENT_TYPE_LATEST)

    def healthz() -> dict[str, str]:
        store.check()
        return {"status": "ok"}

    app.add_url_rule("/metrics", view_func=metrics)
    app.add_url_rule("/healthz", view_func=healthz)
    return app


def _add_guard(app: Flask, token: str | None) -> None:
    expected = None if token is None else f"Bearer {token}".encode()

    def guard() -> None:
        if request.path == "/healthz":
            return
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        if expected is not None and not hmac.compare_digest(given, expected):
            raise Refusal(401, "token", "this collector asks for its token: send the header Authorization: Bearer ...")
        if request.method == "POST" and "Origin" in request.headers:  # any page a browser shows could post to us
            raise Refusal(403, "origin", "web pages cannot post to a collector")

    app.before_request(guard)


def _add_answers(app: Flask, counters: _Counters) -> None:
    """Make every error a JSON object with its reason, and every answer safe to look at."""

    def refused(refusal: Refusal) -> tuple[Response, int]:
        counters.refused.labels(refusal.reason).inc()
        answer = jsonify(error=refusal.text)
        if refusal.status == 401:
            answer.headers["WWW-Authenticate"] = "Bearer"
        return answer, refusal.status

    def http_error(error: HTTPException) -> tuple[Response, int]:
        counters.refused.labels("http").inc()
        answer = jsonify(error=error.description or error.name)
        answer.headers.extend(
            (name, value) for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")
        )
        return answer, error.code or 500

    def store_failed(error: sqlite3.Error) -> tuple[Response, int]:
        counters.refused.labels("store").inc()
        _logger.warning("the database fails: %s", error)
        answer = jsonify(error=f"the database cannot be used now: {error}")
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer, 503

    def secured(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    app.register_error_handler(Refusal, refused)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(sqlite3.Error, store_failed)
    app.after_request(secured)


def _add_ingest(app: Flask, store: Store, counters: _Counters) -> None:
    def ingest() -> dict[str, int]:
        body = read_body(cast(Any, request.stream), request.headers.get("Content-Encoding", ""))
        batch = parse(body, request.mimetype)
        if isinstance(batch, SampleBatch):
            sent, accepted = len(batch.rows), store.add_samples(batch)
            counters.accepted.inc(accepted)
            counters.duplicates.inc(sent - accepted)
        else:
            sent, accepted = len(batch.lines), store.add_lines(batch)
            counters.lines.inc(accepted)
        return {"accepted": accepted, "duplicates": sent - accepted}

    for path in ("/simple_log", "/log"):
        app.add_url_rule(path, endpoint=path, view_func=ingest, methods=["POST"])


def _add_queries(app: Flask, store: Store) -> None:
    def samples() -> dict[str, Any]:
        _only("identifier", "run", "since", "until", "metric", "limit")
        found, is_cut = store.samples(
            identifier=request.args.get("identifier"),
            run=request.args.get("run"),
            since=_argument("since", TIME_RANGE[0], *TIME_RANGE),
            until=_argument("until", TIME_RANGE[1], *TIME_RANGE),
            metrics=request.args.getlist("metric"),
            limit=_limit(),
        )
        return {"samples": found, "truncated": is_cut}

    def logs() -> dict[str, Any]:
        _only("identifier", "since", "until", "limit")
        found, is_cut = store.lines(
            identifier=request.args.get("identifier"),
            since=_argument("since", TIME_RANGE[0], *TIME_RANGE),
            until=_argument("until", TIME_RANGE[1], *TIME_RANGE),
            limit=_limit(),
        )
        return {"lines": found, "truncated": is_cut}

    def clients() -> dict[str, Any]:
        _only("limit")
        found, is_cut = store.clients(_limit())
        return {"clients": found, "truncated": is_cut}

    views: dict[str, Callable[[], dict[str, Any]]] = {"samples": samples, "logs": logs, "clients": clients}
    for name, view in views.items():
        app.add_url_rule(f"/api/v1/{name}", view_func=view)


def _only(*names: str) -> None:
    for name in request.args:
        if name not in names:
            raise Refusal(400, "query", f"there is no parameter {name[:40]!r}; choose from {', '.join(names)}")


def _argument(name: str, default: float, lowest: float, highest: float) -> float:
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise Refusal(400, "query", f"{name} must be a number, got {text[:40]!r}") from error
    if not lowest <= value <= highest:
        raise Refusal(400, "query", f"{name} must be from {lowest:.0f} to {highest:.0f}, got {text[:40]!r}")
    return value


def _limit() -> int:
    return int(_argument("limit", LIMIT_DEFAULT, 1, LIMIT_MAX))
