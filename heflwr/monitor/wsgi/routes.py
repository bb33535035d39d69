"""Labels of a request that come from outside: bounded, whatever clients send."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

OTHER = "other"
"""Stands for what has no label of its own."""

ALL = "all"
"""The one route where no `route=` tells them apart; never the raw path, of which clients make as many as they like."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""Those of RFC 9110 and RFC 5789."""


def flask_route(environ: WSGIEnvironment) -> str | None:
    """Return the URL rule that Flask matched ("/items/<int:id>"), None where it matched none.

    Werkzeug leaves its request in the environment, and Flask the rule on it; neither is imported here.
    """
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return None if rule is None else str(rule.rule)


def status_class(status: str | None, *, is_failed: bool) -> str:
    """Return "2xx" and the like: what a client got.

    Args:
        status: What the application gave to start_response(), None where it did not call it.
        is_failed: It raised before anything was sent, which every server answers with a 500.
    """
    if is_failed:
        return "5xx"
    if status is None:
        return "none"  # it took the socket: a WebSocket
    return f"{status[0]}xx" if status[:1] in {"1", "2", "3", "4", "5"} else OTHER
