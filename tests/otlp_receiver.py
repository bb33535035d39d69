"""OTLP receivers for tests, on free loopback ports, over HTTP and gRPC, built from OpenTelemetry's own messages."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from servers import FaultyServer, reply

Stream = tuple[str, tuple[tuple[str, Any], ...]]
"""A metric's name and the attributes of its points, in order."""


class Point(NamedTuple):
    """A value, integer or float, and its time, nanoseconds."""

    time_ns: int
    value: int | float


class Received:
    """What a receiver has taken.

    Attributes:
        url: Where it listens.
        headers: Those of each request, names in small letters.
        requests: The messages.
    """

    def __init__(self) -> None:
        self.url = ""
        self.headers: list[dict[str, str]] = []
        self.requests: list[ExportMetricsServiceRequest] = []

    def resource(self) -> dict[str, Any]:
        """Return the attributes of the one resource that sent all requests."""
        (found,) = {
            tuple(sorted(attributes(part.resource.attributes).items()))
            for request in self.requests
            for part in request.resource_metrics
        }
        return dict(found)

    def metrics(self) -> list[Metric]:
        return [
            metric
            for request in self.requests
            for part in request.resource_metrics
            for scope in part.scope_metrics
            for metric in scope.metrics
        ]

    def kinds(self) -> dict[str, tuple[str, str]]:
        """Return what each metric is, in words of the conventions, and its unit; fails on what is not cumulative."""
        found = {}
        for metric in self.metrics():
            if metric.WhichOneof("data") == "gauge":
                kind = "gauge"
            else:
                assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
                kind = "counter" if metric.sum.is_monotonic else "up_down_counter"
            found[metric.name] = (kind, metric.unit)
        return found

    def streams(self) -> dict[Stream, list[Point]]:
        """Return all points, by metric and attributes, in the order in which they came."""
        found: dict[Stream, list[Point]] = {}
        for metric in self.metrics():
            for point in getattr(metric, metric.WhichOneof("data")).data_points:
                value = getattr(point, point.WhichOneof("value"))
                stream = (metric.name, tuple(attributes(point.attributes).items()))
                found.setdefault(stream, []).append(Point(point.time_unix_nano, value))
        return found

    def starts(self) -> set[int]:
        """Return since when the sums count, nanoseconds."""
        return {point.start_time_unix_nano for metric in self.metrics() for point in metric.sum.data_points}


def attributes(pairs: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""

    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value"))

    return {pair.key: value(pair) for pair in pairs}


Answer = Callable[[int], tuple[int, bytes]]
"""Gives, for the number of a request, the HTTP status and the body that answer it."""


def taken(number: int) -> tuple[int, bytes]:
    """Answer every request as a receiver does that has no objection."""
    return 200, b""


def rejecting(points: int, message: str) -> Answer:
    """Return an answer that takes a request without so many of its points."""
    response = ExportMetricsServiceResponse()
    response.partial_success.rejected_data_points = points
    response.partial_success.error_message = message
    return lambda number: (200, response.SerializeToString())


@contextlib.contextmanager
def http_receiver(answer: Answer = taken) -> Iterator[Received]:
    """Receive over HTTP; a request counts as received where it is answered with 200."""
    received = Received()

    def take(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        status, said = answer(len(received.headers))
        received.headers.append(headers)
        if (handler.path, headers["content-type"]) != ("/v1/metrics", "application/x-protobuf"):
            reply(handler, 404)
            return
        if status == 200:
            plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            received.requests.append(ExportMetricsServiceRequest.FromString(plain))
        reply(handler, status, said, Content_Type="application/x-protobuf")

    with FaultyServer(take) as server:
        received.url = f"http://{server.address}"
        yield received


@contextlib.contextmanager
def grpc_receiver(
    answer: Callable[[int, grpc.ServicerContext], ExportMetricsServiceResponse] | None = None,
    *,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[Received]:
    """Receive over gRPC; `answer` may end a request with a status of its own, by the context's abort()."""
    received = Received()

    class Service(MetricsServiceServicer):
        def Export(self, request: Any, context: grpc.ServicerContext) -> ExportMetricsServiceResponse:  # noqa: N802
            received.headers.append(dict(context.invocation_metadata()))
            number = len(received.headers) - 1
            said = ExportMetricsServiceResponse() if answer is None else answer(number, context)
            received.requests.append(request)
            return said

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        add_MetricsServiceServicer_to_server(Service(), server)
        if credentials is None:
            received.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        else:
            received.url = f"https://127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        server.start()
        try:
            yield received
        finally:
            server.stop(0).wait()
