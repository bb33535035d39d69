"""What a sender says beside its samples: windows of its run, and points of monitored functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from heflwr.collector import checks
from heflwr.collector.records import FunctionBatch, FunctionPoint, Refusal, Window

NAME_LENGTH = 256

_labels = checks.mapping(checks.text)


def windows_of(message: dict[str, Any]) -> tuple[Window, ...]:
    """Return the windows of a body.

    Raises:
        Refusal: One of them is not as docs/collector.md says.
    """
    return tuple(
        _window(window, at) for at, window in enumerate(checks.entries(message, "windows", checks.WINDOWS_MAX))
    )


def _window(window: Any, at: int) -> Window:
    if not isinstance(window, dict):
        raise Refusal(400, "windows", f"windows[{at}] must be an object, got {checks.kind(window)}")
    start = checks.moment(f"windows[{at}].start", window.get("start"))
    end = checks.optional(checks.moment)(f"windows[{at}].end", window.get("end"))
    if end is not None and end < start:
        raise Refusal(400, "windows", f"windows[{at}] ends before it starts")
    return Window(
        checks.text(f"windows[{at}].name", window.get("name"), NAME_LENGTH),
        start,
        end,
        _labels(f"windows[{at}].labels", window.get("labels", {})),
    )


def functions_of(message: Any) -> FunctionBatch:
    """Return the points of a body of /api/v1/functions.

    Raises:
        Refusal: It is not as docs/collector.md says.
    """
    if not isinstance(message, dict):
        raise Refusal(400, "shape", f"the body must be a JSON object, got {checks.kind(message)}")
    points = checks.entries(message, "functions", checks.POINTS_MAX)
    return FunctionBatch(
        checks.identifier_of(message),
        checks.run_of(message),
        tuple(_point(point, at) for at, point in enumerate(points)),
    )


def _point(point: Any, at: int) -> FunctionPoint:
    if not isinstance(point, dict):
        raise Refusal(400, "functions", f"functions[{at}] must be an object, got {checks.kind(point)}")
    return FunctionPoint(**{name: check(f"functions[{at}].{name}", point.get(name)) for name, check in _POINT.items()})


def _name(name: str, value: Any) -> str:
    return checks.text(name, value, NAME_LENGTH)


def _said(name: str, value: Any) -> str:
    return "" if value is None else checks.text(name, value)


_POINT: dict[str, Callable[[str, Any], Any]] = {
    "name": _name,
    "unit": _said,
    "guarantee": _said,
    "reason": _said,
    "sequence": checks.sequence,
    "time": checks.moment,
    **{
        name: checks.optional(checks.integer)
        for name in ("round", "live", "stale", "lost", "messages", "centralization")
    },
    **{name: checks.optional(checks.real) for name in ("value", "bound", "truth")},
}
