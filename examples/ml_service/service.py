"""A REST service that recognizes digits, instrumented; serving.py serves it."""

from __future__ import annotations

import os
import time

from checks import BODY_BYTES, RefusedError, inputs_of
from drift import RecentInputs
from flask import Flask, Response, g, jsonify, request
from model import digits, trained
from telemetry import Telemetry
from werkzeug.exceptions import HTTPException

from heflwr.monitor.wsgi import Middleware, flask_route

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def create_app() -> Flask:
    """Return the application, its model trained.

    Several processes share the directory that PROMETHEUS_MULTIPROC_DIR names: prometheus_client's files are there, and
    heflwr's.
    """
    data = digits()
    model = trained(data.inputs, data.labels)
    recent = RecentInputs(data.inputs)
    telemetry = Telemetry.create()
    telemetry.variance.labels("training").set(recent.training_variance)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES
    figures = Middleware(app.wsgi_app, route=flask_route, directory=os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
    app.wsgi_app = figures  # type: ignore[method-assign]

    @app.before_request
    def begin() -> None:
        g.begun = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        route = flask_route(request.environ) or "none"
        telemetry.requests.labels(route, response.status_code).inc()
        telemetry.seconds.labels(route).observe(time.perf_counter() - g.begun)
        return response

    @app.post("/predict")
    def predict() -> Response:
        inputs = inputs_of(request)
        found = [int(digit) for digit in model.predict(inputs)]
        for digit in found:
            telemetry.predictions.labels(digit).inc()
        if (drift := recent.add(inputs)) is not None:
            telemetry.show(drift)
        return jsonify(predictions=found)

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="ok")

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(telemetry.page() + figures.exposition(), content_type=TEXT)

    @app.errorhandler(RefusedError)
    def refuse(error: RefusedError) -> tuple[Response, int]:
        telemetry.errors.labels(error.reason).inc()
        return jsonify(error=str(error)), error.status

    @app.errorhandler(HTTPException)
    def answer(error: HTTPException) -> tuple[Response, int]:
        telemetry.errors.labels("http").inc()
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(Exception)
    def fail(error: Exception) -> tuple[Response, int]:
        app.logger.exception("a request failed", exc_info=error)
        telemetry.errors.labels("failure").inc()
        return jsonify(error="this is our fault; it is in the log"), 500

    return app
