"""Parameters of a query, checked."""

from __future__ import annotations

import time

from flask import request

from heflwr.collector.checks import IDENTIFIER_LENGTH, TIME_RANGE
from heflwr.collector.records import Refusal

LIMIT_DEFAULT = 1_000
LIMIT_MAX = 10_000
"""Most rows in one answer: about a megabyte. Ask again with `until` for older ones."""

NAMES_MAX = 100
"""Most identifiers, runs or metrics in one query."""


def only(*names: str) -> None:
    """Refuse a parameter that the endpoint does not have: it is a mistyped one."""
    for name in request.args:
        if name not in names:
            raise Refusal(400, "query", f"there is no parameter {name[:40]!r}; choose from {', '.join(names)}")


def number(name: str, default: float, lowest: float, highest: float) -> float:
    """Return a number."""
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise Refusal(400, "query", f"{name} must be a number, got {text[:40]!r}") from error
    if not lowest <= value <= highest:
        raise Refusal(400, "query", f"{name} must be from {lowest:.10g} to {highest:.10g}, got {text[:40]!r}")
    return value


def whole(name: str, default: int, lowest: int, highest: int) -> int:
    """Return an integer."""
    value = number(name, default, lowest, highest)
    if value != int(value):
        raise Refusal(400, "query", f"{name} must be an integer, got {request.args[name][:40]!r}")
    return int(value)


def limit() -> int:
    """Return the most rows to answer with."""
    return whole("limit", LIMIT_DEFAULT, 1, LIMIT_MAX)


def since_until() -> tuple[float, float]:
    """Return the ends of a span of time, by default all times."""
    since, until = number("since", TIME_RANGE[0], *TIME_RANGE), number("until", TIME_RANGE[1], *TIME_RANGE)
    if since > until:
        raise Refusal(400, "query", f"since must not be after until, got {since!r} and {until!r}")
    return since, until


def recent(seconds: float) -> tuple[float, float]:
    """Return the ends of a span of time, by default the last so many seconds until now."""
    until = number("until", time.time(), *TIME_RANGE)
    return number("since", max(until - seconds, TIME_RANGE[0]), *TIME_RANGE), until


def text(name: str) -> str | None:
    """Return a name, None where it is not asked for."""
    found = texts(name)
    if len(found) > 1:
        raise Refusal(400, "query", f"{name} can be given once only")
    return found[0] if found else None


def texts(name: str) -> list[str]:
    """Return all values of a parameter that may be given several times."""
    found = request.args.getlist(name)
    if len(found) > NAMES_MAX or any(len(value) > IDENTIFIER_LENGTH or "\0" in value for value in found):
        raise Refusal(400, "query", f"{name} must be at most {NAMES_MAX} names of {IDENTIFIER_LENGTH} characters")
    return list(dict.fromkeys(found))


def needed(name: str) -> str:
    """Return a name that must be given."""
    found = text(name)
    if found is None:
        raise Refusal(400, "query", f"the parameter {name} is missing")
    return found
