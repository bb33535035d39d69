"""What may be sent besides samples and log lines: points of functions, InfluxDB's line protocol."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, Response, g, request

from heflwr.collector.counters import Counters
from heflwr.collector.gate import body_of, count_samples
from heflwr.collector.guard import Guard
from heflwr.collector.ingest import parse_json
from heflwr.collector.line_protocol import parse_lines
from heflwr.collector.records import Refusal
from heflwr.collector.reports import functions_of
from heflwr.collector.store import Store


def add(app: Flask, store: Store, guard: Guard, counters: Counters) -> None:
    """Mount the endpoints."""

    def functions() -> dict[str, int]:
        if request.mimetype != "application/json":
            raise Refusal(415, "type", f"Content-Type must be application/json, got {request.mimetype[:40]!r}")
        batch = functions_of(parse_json(body()))
        guard.may_write(g.access, batch.identifier)
        accepted = store.add_functions(batch)
        return {"accepted": accepted, "duplicates": len(batch.points) - accepted}

    def write() -> Response:
        batches = parse_lines(
            body(),
            precision=request.args.get("precision", "ns"),
            received=time.time(),
            identifier=g.access.name,
        )
        for batch in batches:
            guard.may_write(g.access, batch.identifier)
        count_samples(counters, batches, store.add_samples(*batches))
        return Response(status=204)

    def ping() -> Response:
        return Response(status=204)

    def influx_query() -> dict[str, Any]:
        return {"results": []}

    app.add_url_rule("/api/v1/functions", endpoint="add_functions", view_func=functions, methods=["POST"])
    for path in ("/write", "/api/v2/write"):
        app.add_url_rule(path, endpoint=path, view_func=write, methods=["POST"])
    app.add_url_rule("/ping", view_func=ping, methods=["GET"])
    app.add_url_rule("/query", view_func=influx_query, methods=["GET", "POST"])


def body() -> bytes:
    """Return the body of this request, unpacked."""
    return body_of(request)
