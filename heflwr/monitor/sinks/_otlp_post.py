"""What is said to an OTLP receiver and what it answers, over HTTP here and over gRPC in `_otlp_grpc`.

Both speak to the sender in HTTP's statuses, and both listen for what a receiver rejects of a request that it took: that
is lost for good, must not be sent again, and is counted here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from heflwr.monitor.sinks import _otlp_messages as messages
from heflwr.monitor.sinks._http import Answer, Connection, Server
from heflwr.monitor.sinks._outbox import Batch
from heflwr.monitor.sinks._sender import Post

LATER = frozenset({401, 403, 404, 408, 429, 502, 503, 504})
"""Statuses after which rows wait: those that OTLP calls retryable, and those that a right token or path will change."""


@dataclass(slots=True)
class Rejections:
    """Points that a receiver rejected of requests that it took, and why, in its words."""

    points: int = 0
    reason: str = ""


class Wire:
    """OTLP as `_sender.Wire`: protobuf messages, an empty answer for a receipt."""

    name = "an OTLP receiver"
    content_type = "application/x-protobuf"
    refusals = frozenset(range(400, 600)) - LATER

    def body(self, batch: Batch) -> bytes:
        return messages.export_request(batch.head, batch.rows)

    def samples(self, batch: Batch) -> int:
        return len(batch.rows)

    def is_receipt(self, answer: Answer, batch: Batch) -> bool:
        try:
            messages.rejection(answer.body)
        except ValueError:
            return False
        return answer.status == 200


class Listening:
    """Carries requests as another does, and notes what the answers say."""

    def __init__(self, post: Post, rejections: Rejections) -> None:
        self._post = post
        self._rejections = rejections

    def close(self) -> None:
        self._post.close()

    def post(self, path: str, body: bytes, content_type: str, timeout: float) -> Answer:
        answer = self._post.post(path, body, content_type, timeout)
        if answer.status >= 400:
            said = messages.trouble(answer.body)
            return answer._replace(body=error_body(said)) if said else answer
        try:
            points, reason = messages.rejection(answer.body)
        except ValueError:  # the sender finds that this is no receipt
            return answer
        self._rejections.points += points
        self._rejections.reason = reason or self._rejections.reason
        return answer


def over_http(server: Server, rejections: Rejections) -> Post:
    """Return what carries requests over HTTP."""
    return Listening(Connection(server), rejections)


def error_body(text: str) -> bytes:
    """Return what the sender reads as an error with this text."""
    return json.dumps({"error": text}).encode()
