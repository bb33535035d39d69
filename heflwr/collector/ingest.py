"""From the bytes of a request to checked records: sizes, encoding, JSON, every value. Knows neither Flask nor SQL."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from heflwr.collector.ancestor import parse_form
from heflwr.collector.records import Line, LineBatch, Refusal, Row, SampleBatch

BODY_BYTES = 1 << 20
"""Largest body as sent. The monitor's batches are a tenth of it."""

UNPACKED_BYTES = 8 << 20
"""Largest body after gzip; unpacking stops there, however small the bomb was."""

ROWS_MAX = 10_000
LINES_MAX = 1_000
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

SEQUENCE_MAX = 2**53
"""JSON numbers are exact up to here."""

_READ_BYTES = 1 << 16

_RUN = re.compile(r"[0-9A-Za-z_-]{1,64}")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")


def read_body(stream: BinaryIO, encoding: str) -> bytes:
    """Return the whole body, unpacked. Reads no more than is allowed.

    Args:
        stream: Where the body comes from.
        encoding: Content-Encoding: "gzip", "identity" or "".

    Raises:
        Refusal: 413 too large, 415 another encoding, 400 not gzip.
    """
    body = stream.read(BODY_BYTES + 1)
    if len(body) > BODY_BYTES:
        raise Refusal(413, "size", f"the body must be at most {BODY_BYTES} bytes; send fewer rows a request")
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise Refusal(415, "encoding", f"Content-Encoding must be gzip or none, got {encoding[:40]!r}")
    return _unpack(body)


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    size = 0
    try:
        while not unpacker.eof:
            part = unpacker.decompress(body, _READ_BYTES)
            body = unpacker.unconsumed_tail
            size += len(part)
            if size > UNPACKED_BYTES:
                raise Refusal(413, "size", f"the unpacked body must be at most {UNPACKED_BYTES} bytes")
            if not part and not body:
                raise Refusal(400, "gzip", "the gzip body is cut short")
            parts.append(part)
    except zlib.error as error:
        raise Refusal(400, "gzip", f"the body is not gzip: {error}") from error
    if unpacker.unused_data:
        raise Refusal(400, "gzip", "there is something behind the end of the gzip body")
    return b"".join(parts)


def parse(body: bytes, content_type: str) -> SampleBatch | LineBatch:
    """Return what the body holds, every value checked.

    Args:
        body: Unpacked.
        content_type: application/json, or application/x-www-form-urlencoded for posts of heflwr 0.1.

    Raises:
        Refusal: 415 for another type, 400 for anything that is not as docs/collector.md says.
    """
    if content_type == "application/x-www-form-urlencoded":
        return _checked_form(parse_form(body))
    if content_type != "application/json":
        raise Refusal(415, "type", f"Content-Type must be application/json, got {content_type[:40]!r}")
    message = _parse_json(body)
    if not isinstance(message, dict):
        raise Refusal(400, "shape", f"the body must be a JSON object, got {_kind(message)}")
    if "lines" in message:
        return _lines(message)
    return _samples(message)


def _parse_json(body: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise Refusal(400, "number", f"{constant} is not JSON; send null for a missing value")

    try:
        return json.loads(body.decode("utf-8"), parse_constant=refuse)
    except RecursionError as error:
        raise Refusal(400, "json", "the JSON is nested too deep; four levels are enough") from error
    except ValueError as error:  # not UTF-8, not JSON, or an integer of thousands of digits
        raise Refusal(400, "json", f"the body is not JSON in UTF-8: {str(error)[:200]}") from error


def _samples(message: dict[str, Any]) -> SampleBatch:
    metrics = _list(message, "metrics", METRICS_MAX)
    for name in metrics:
        if not isinstance(name, str) or not _METRIC.fullmatch(name):
            raise Refusal(400, "metrics", f"a metric's name must match {_METRIC.pattern}, got {_shown(name)}")
    if len(set(metrics)) < len(metrics):
        raise Refusal(400, "metrics", "metrics must differ from each other")
    width = 2 + len(metrics)
    return SampleBatch(
        identifier=_identifier(message),
        run=_run(message),
        metrics=tuple(metrics),
        rows=tuple(_row(row, at, width) for at, row in enumerate(_list(message, "rows", ROWS_MAX))),
        about={name: check(name, message[name]) for name, check in _ABOUT.items() if name in message},
    )


def _row(row: Any, at: int, width: int) -> Row:
    if not isinstance(row, list) or len(row) != width:
        got = f"{len(row)} values" if isinstance(row, list) else _kind(row)
        raise Refusal(400, "rows", f"rows[{at}] must be [sequence, time, one value a metric] ({width}), got {got}")
    values = row[2:]
    for value in values:
        if value is not None:
            _number(f"a value in rows[{at}]", value)
    return Row(_sequence(f"rows[{at}][0], the sequence,", row[0]), _time(f"rows[{at}][1]", row[1]), tuple(values))


def _lines(message: dict[str, Any]) -> LineBatch:
    lines = _list(message, "lines", LINES_MAX)
    return LineBatch(
        identifier=_identifier(message),
        run=_run(message) if "run" in message else None,
        lines=tuple(_line(line, at) for at, line in enumerate(lines)),
    )


def _line(line: Any, at: int) -> Line:
    if not isinstance(line, dict):
        raise Refusal(400, "lines", f"lines[{at}] must be an object, got {_kind(line)}")
    return Line(
        message=_text(f"lines[{at}].message", line.get("message"), MESSAGE_LENGTH),
        time=_time(f"lines[{at}].time", line["time"]) if "time" in line else None,
        sequence=_sequence(f"lines[{at}].sequence", line["sequence"]) if "sequence" in line else None,
        fields={name: check(f"lines[{at}].{name}", line[name]) for name, check in _FIELDS.items() if name in line},
    )


def _checked_form(batch: LineBatch) -> LineBatch:
    _identifier({"identifier": batch.identifier})
    for line in batch.lines:
        _text("message", line.message, MESSAGE_LENGTH)
        if line.time is not None:
            _time("created", line.time)
        for name, value in line.fields.items():
            _text(name, value, MESSAGE_LENGTH)
    return batch


def _identifier(message: dict[str, Any]) -> str:
    identifier = _text("identifier", message.get("identifier"), IDENTIFIER_LENGTH)
    if not identifier:
        raise Refusal(400, "identifier", "identifier must not be empty")
    return identifier


def _run(message: dict[str, Any]) -> str:
    run = message.get("run")
    if not isinstance(run, str) or not _RUN.fullmatch(run):
        raise Refusal(400, "run", f"run must match {_RUN.pattern}, got {_shown(run)}")
    return run


def _list(message: dict[str, Any], name: str, most: int) -> list[Any]:
    value = message.get(name)
    if not isinstance(value, list):
        raise Refusal(400, name, f"{name} must be a list, got {_kind(value)}")
    if not 1 <= len(value) <= most:
        raise Refusal(400, name, f"{name} must have 1 to {most} entries, got {len(value)}")
    return value


def _text(name: str, value: Any, longest: int = TEXT_LENGTH) -> str:
    if not isinstance(value, str):
        raise Refusal(400, "text", f"{name} must be a string, got {_kind(value)}")
    if len(value) > longest:
        raise Refusal(400, "text", f"{name} must have at most {longest} characters, got {len(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Refusal(400, "text", f"{name} holds half a surrogate pair, which is not Unicode text") from error
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refusal(400, "number", f"{name} must be a number or null, got {_kind(value)}")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        is_finite = False
    if not is_finite:
        raise Refusal(400, "number", f"{name} is too large for a number of 64 bits")
    return value


def _sequence(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= SEQUENCE_MAX:
        raise Refusal(400, "sequence", f"{name} must be an integer from 0 to 2**53, got {_shown(value)}")
    return value


def _time(name: str, value: Any) -> float:
    number = _number(name, value)
    if not TIME_RANGE[0] <= number < TIME_RANGE[1]:
        raise Refusal(400, "time", f"{name} must be Unix time in seconds, from 1970 to 2200, got {_shown(value)}")
    return float(number)


def _mapping(check: Callable[[str, Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    def checked(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > ENTRIES_MAX:
            raise Refusal(400, "shape", f"{name} must be an object of at most {ENTRIES_MAX} entries")
        return {_text(f"a key of {name}", key): check(f"{name}[{key[:40]!r}]", entry) for key, entry in value.items()}

    return checked


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise Refusal(400, "number", f"{name} must be an integer of 63 bits, got {_shown(value)}")
    return value


_ABOUT: dict[str, Callable[[str, Any], Any]] = {
    "host": _text,
    "pid": _integer,
    "started": _time,
    "interval": _number,
    "units": _mapping(_text),
    "versions": _mapping(_text),
    "sources": _mapping(_text),
    "limits": _mapping(_number),
}
"""What a sender may say of itself; unknown keys are ignored, so that a newer sender is understood."""

_FIELDS: dict[str, Callable[[str, Any], str | int]] = {
    "level": _text,
    "logger": _text,
    "file": _text,
    "line": _integer,
    "function": _text,
    "host": _text,
    "pid": _integer,
    "thread": _text,
    "exception": lambda name, value: _text(name, value, MESSAGE_LENGTH),
}


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, (str, float)) else _kind(value)
