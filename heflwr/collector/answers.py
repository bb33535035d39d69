"""What all answers have in common: errors are JSON objects with a reason, nothing is kept or guessed by a browser."""

from __future__ import annotations

import gzip
import json
import logging
import math
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from heflwr.collector.counters import Counters
from heflwr.collector.records import Refusal
from heflwr.collector.store import StoreFailed

RETRY_SECONDS = 10
"""What a sender is told to wait when the database cannot take more now."""

GZIP_BYTES = 2_048
"""Smaller answers are sent as they are."""

GZIP_LEVEL = 1
"""Fastest: a list of a thousand clients shrinks to a tenth already."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Answers are data for programs: a browser shall neither run, frame, guess nor keep them."""

_logger = logging.getLogger("heflwr.collector")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not made by Flask.

    Attributes:
        status: Of HTTP.
        body: For JSON.
        extra: Headers beside those that every answer has.
    """

    status: int
    body: dict[str, Any]
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def status_line(self) -> str:
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode() + b"\n"

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("Content-Type", "application/json"), *_HEADERS.items(), *self.extra.items()]


def refusal_of(error: Refusal | StoreFailed, counters: Counters) -> Answer:
    """Count a refused request, and return what it is told."""
    if isinstance(error, StoreFailed):
        counters.refused.labels("store").inc()
        _logger.warning("the database fails: %s", error)
        text = f"the database cannot be used now: {error}"
        return Answer(503, {"error": text}, {"Retry-After": str(RETRY_SECONDS)})
    counters.refused.labels(error.reason).inc()
    extra = {}
    if error.status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    if error.wait:
        extra["Retry-After"] = str(math.ceil(error.wait))
    if error.allow:
        extra["Allow"] = error.allow
    return Answer(error.status, {"error": error.text}, extra)


def add_answers(app: Flask, counters: Counters) -> None:
    """Make every error a JSON object with its reason, and every answer safe to look at."""

    def refused(error: Refusal | StoreFailed) -> tuple[Response, int]:
        answer = refusal_of(error, counters)
        response = jsonify(answer.body)
        response.headers.update(answer.extra)
        return response, answer.status

    def http_error(error: HTTPException) -> tuple[Response, int]:
        counters.refused.labels("http").inc()
        answer = jsonify(error=error.description or error.name)
        answer.headers.extend(
            (name, value) for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")
        )
        return answer, error.code or 500

    def secured(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return _packed(response)

    app.register_error_handler(Refusal, refused)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(StoreFailed, refused)
    app.after_request(secured)


def _packed(response: Response) -> Response:
    if (
        response.mimetype != "application/json"
        or response.is_streamed
        or "gzip" not in request.headers.get("Accept-Encoding", "")
        or len(response.data) < GZIP_BYTES
    ):
        return response
    response.data = gzip.compress(response.data, GZIP_LEVEL, mtime=0)
    response.headers["Content-Encoding"] = "gzip"
    response.headers.add("Vary", "Accept-Encoding")
    return response
