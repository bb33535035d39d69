"""OTLP over gRPC: one call, whose messages are bytes and whose codes become HTTP's statuses."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from heflwr.monitor.sinks._http import ANSWER_BYTES, Answer, Server, Trouble
from heflwr.monitor.sinks._otlp_post import LATER, Listening, Rejections, error_body
from heflwr.monitor.sinks._sender import Post

_METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

_STATUSES = {
    "OK": 200,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "UNIMPLEMENTED": 404,
    "NOT_FOUND": 404,
    "CANCELLED": 503,
    "DEADLINE_EXCEEDED": 504,
    "ABORTED": 503,
    "OUT_OF_RANGE": 503,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 503,
    "RESOURCE_EXHAUSTED": 413,  # unless the receiver says when to come again
}
"""gRPC's codes; any other one says: never, which is 400."""


def over_grpc(server: Server, rejections: Rejections) -> Post:
    """Return what carries requests over gRPC. Raises OSError where the authority's file cannot be read."""
    return Listening(_Channel(server), rejections)


class _Channel:
    """Calls to one receiver; the connection is kept between them."""

    def __init__(self, server: Server) -> None:
        self._url = server.url
        self._metadata = tuple((name.lower(), value) for name, value in server.headers)
        options = [("grpc.max_receive_message_length", ANSWER_BYTES)]
        parts = urlsplit(server.url)
        if parts.scheme == "https":
            authority = Path(server.verify).read_bytes() if isinstance(server.verify, str) else None
            credentials = grpc.ssl_channel_credentials(authority)
            self._channel = grpc.secure_channel(parts.netloc, credentials, options, grpc.Compression.Gzip)
        else:
            self._channel = grpc.insecure_channel(parts.netloc, options, grpc.Compression.Gzip)
        self._export = self._channel.unary_unary(_METHOD)

    def close(self) -> None:
        self._channel.close()

    def post(self, path: str, body: bytes, content_type: str, timeout: float) -> Answer:
        try:
            return Answer(_STATUSES["OK"], self._export(body, timeout=timeout, metadata=self._metadata), 0.0)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            status = _STATUSES.get(code, 400)
            if status in LATER or _may_come_again(error.trailing_metadata() or ()):
                raise Trouble(f"{self._url} answered {code}: {details}") from error
            return Answer(status, error_body(f"{code}: {details}"), 0.0)


def _may_come_again(trailing: Iterable[tuple[str, str | bytes]]) -> bool:
    """Return True where a gRPC error's metadata has a RetryInfo: the load was too much now, not the request."""
    return any(key == "grpc-status-details-bin" and b"google.rpc.RetryInfo" in value for key, value in trailing)
