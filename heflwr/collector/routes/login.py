"""The guard before every view, and where the page logs in and out."""

from __future__ import annotations

from flask import Flask, Response, g, request

from heflwr.collector.guard import COOKIE, SESSION_SECONDS, Guard
from heflwr.collector.ingest import parse_json
from heflwr.collector.records import Refusal
from heflwr.collector.routes.ingest import body


def add(app: Flask, guard: Guard) -> None:
    """Let the guard see every request, and mount the endpoints."""

    def admit() -> None:
        g.access = guard.admit(request, is_page=request.blueprint == "page")

    def login() -> Response:
        message = parse_json(body())
        token = message.get("token") if isinstance(message, dict) else None
        if not isinstance(token, str):
            raise Refusal(400, "shape", 'the body must be {"token": "..."}')
        session = guard.login(request, token)
        answer = Response(status=204)
        if session is not None:
            answer.set_cookie(
                COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="Strict", secure=request.is_secure
            )
        return answer

    def logout() -> Response:
        guard.logout(request)
        answer = Response(status=204)
        answer.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure)
        return answer

    app.before_request(admit)
    app.add_url_rule("/api/v1/login", view_func=login, methods=["POST"])
    app.add_url_rule("/api/v1/login", view_func=logout, methods=["DELETE"])
