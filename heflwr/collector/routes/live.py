"""What changes: events for pages, targets for Prometheus, the collector's own health and metrics."""

from __future__ import annotations

from importlib import resources

from flask import Flask, Response, g, jsonify, request
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from heflwr.collector import arguments
from heflwr.collector.counters import Counters
from heflwr.collector.events import Hub
from heflwr.collector.guard import Guard
from heflwr.collector.ingest import parse_json
from heflwr.collector.records import Refusal
from heflwr.collector.routes.ingest import body
from heflwr.collector.store import Store
from heflwr.collector.targets import Targets, parse_registration

RETRY_SECONDS = 5


def add(app: Flask, store: Store, guard: Guard, hub: Hub, targets: Targets, counters: Counters) -> None:
    """Mount the endpoints."""

    def events() -> Response:
        arguments.only()
        stream = hub.listen(request.environ.get("waitress.client_disconnected", lambda: False))
        if stream is None:
            answer = jsonify(error="too many pages listen; ask again from time to time instead")
            answer.status_code, answer.headers["Retry-After"] = 503, str(RETRY_SECONDS)
            return answer
        return Response(stream, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    def discover() -> Response:
        return jsonify(targets.service_discovery())

    def register() -> dict[str, object]:
        if request.mimetype != "application/json":
            raise Refusal(415, "type", f"Content-Type must be application/json, got {request.mimetype[:40]!r}")
        registration = parse_registration(parse_json(body()))
        guard.may_write(g.access, registration.identifier)
        return {"lease": targets.register(registration)}

    def metrics() -> Response:
        return Response(generate_latest(counters.registry), content_type=CONTENT_TYPE_LATEST)

    def healthz() -> dict[str, str]:
        store.check()
        return {"status": "ok"}

    def openapi() -> Response:
        text = resources.files("heflwr.collector").joinpath("openapi.yaml").read_text(encoding="utf-8")
        return Response(text, content_type="application/yaml")

    app.add_url_rule("/api/v1/events", view_func=events)
    app.add_url_rule("/api/v1/targets", view_func=discover)
    app.add_url_rule("/api/v1/targets", endpoint="register", view_func=register, methods=["POST"])
    app.add_url_rule("/metrics", view_func=metrics)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/openapi.yaml", view_func=openapi)
