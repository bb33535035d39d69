"""What every value of a body must be, one function a kind of value; each raises a Refusal that says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from heflwr.collector.records import Refusal

ROWS_MAX = 10_000
LINES_MAX = 1_000
WINDOWS_MAX = 1_000
POINTS_MAX = 1_000
"""Most entries of a body."""

METRICS_MAX = 128
"""More than twice as many columns as heflwr knows."""

IDENTIFIER_LENGTH = 256
TEXT_LENGTH = 1024
"""Longest text in what a sender says of itself: a host's name, a source, a version."""

MESSAGE_LENGTH = 65_536
ENTRIES_MAX = 256
"""Most entries of a mapping such as units."""

TIME_RANGE = (0.0, 7_258_118_400.0)
"""Unix seconds, 1970 to 2200: a board without a battery-backed clock does start in 1970, and its samples count."""

VALUE_MAX = 1e150
"""Greatest number: sums, rates and totals of such numbers are finite, however many there are."""

INTERVAL_RANGE = (1e-6, 1e9)
"""Seconds between samples."""

SEQUENCE_MAX = 2**53
"""JSON numbers are exact up to here."""

RUN = re.compile(r"[0-9A-Za-z_-]{1,64}")
METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")


def identifier_of(message: dict[str, Any]) -> str:
    """Return who sends."""
    identifier = text("identifier", message.get("identifier"), IDENTIFIER_LENGTH)
    if not identifier:
        raise Refusal(400, "identifier", "identifier must not be empty")
    return identifier


def run_of(message: dict[str, Any]) -> str:
    """Return the id of the sender's run."""
    run = message.get("run")
    if not isinstance(run, str) or not RUN.fullmatch(run):
        raise Refusal(400, "run", f"run must match {RUN.pattern}, got {shown(run)}")
    return run


def entries(message: dict[str, Any], name: str, most: int, least: int = 1) -> list[Any]:
    """Return a list of the message."""
    value = message.get(name)
    if not isinstance(value, list):
        raise Refusal(400, name, f"{name} must be a list, got {kind(value)}")
    if not least <= len(value) <= most:
        raise Refusal(400, name, f"{name} must have {least} to {most} entries, got {len(value)}")
    return value


def text(name: str, value: Any, longest: int = TEXT_LENGTH) -> str:
    """Return a text that any database keeps: no half surrogate, no NUL."""
    if not isinstance(value, str):
        raise Refusal(400, "text", f"{name} must be a string, got {kind(value)}")
    if len(value) > longest:
        raise Refusal(400, "text", f"{name} must have at most {longest} characters, got {len(value)}")
    if "\0" in value:
        raise Refusal(400, "text", f"{name} holds a NUL character, which a database cannot keep")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refusal(400, "text", f"{name} holds half a surrogate pair, which is not Unicode text") from error
    return value


def number(name: str, value: Any) -> float:
    """Return a number that can be added up."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refusal(400, "number", f"{name} must be a number or null, got {kind(value)}")
    if not -VALUE_MAX <= value <= VALUE_MAX:
        raise Refusal(
            400, "number", f"{name} is too large: numbers are from -{VALUE_MAX:g} to {VALUE_MAX:g}, got {shown(value)}"
        )
    return value


def real(name: str, value: Any) -> float:
    """Return a number that a database's column of 64 bits keeps."""
    return float(number(name, value))


def interval(name: str, value: Any) -> float:
    """Return the seconds between samples."""
    found = number(name, value)
    if not INTERVAL_RANGE[0] <= found <= INTERVAL_RANGE[1]:
        raise Refusal(
            400,
            "number",
            f"{name} must be from {INTERVAL_RANGE[0]:g} to {INTERVAL_RANGE[1]:g} seconds, got {shown(value)}",
        )
    return found


def sequence(name: str, value: Any) -> int:
    """Return a number within a run."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SEQUENCE_MAX:
        raise Refusal(400, "sequence", f"{name} must be an integer from 0 to 2**53, got {shown(value)}")
    return value


def moment(name: str, value: Any) -> float:
    """Return a time in Unix seconds."""
    found = number(name, value)
    if not TIME_RANGE[0] <= found < TIME_RANGE[1]:
        raise Refusal(400, "time", f"{name} must be Unix time in seconds, from 1970 to 2200, got {shown(value)}")
    return float(found)


def mapping(check: Callable[[str, Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    """Return a check of an object of which `check` takes every entry."""

    def checked(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > ENTRIES_MAX:
            raise Refusal(400, "shape", f"{name} must be an object of at most {ENTRIES_MAX} entries")
        return {text(f"a key of {name}", key): check(f"{name}[{key[:40]!r}]", entry) for key, entry in value.items()}

    return checked


def integer(name: str, value: Any) -> int:
    """Return a count or the like."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise Refusal(400, "number", f"{name} must be an integer of 63 bits, got {shown(value)}")
    return value


def optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return a check that also takes null."""
    return lambda name, value: None if value is None else check(name, value)


def kind(value: Any) -> str:
    """Name the type of a JSON value."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def shown(value: Any) -> str:
    """Show a value that is wrong, cut to a length that fits into a sentence."""
    if type(value) is int and abs(value) < 2**64:
        return str(value)
    return repr(value)[:40] if isinstance(value, (str, float)) else kind(value)
