"""From the bytes of a request to checked records: sizes, encoding, JSON, every value. Knows neither Flask nor SQL."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from heflwr.collector import checks
from heflwr.collector.ancestor import parse_form
from heflwr.collector.records import Line, LineBatch, Refusal, Row, SampleBatch
from heflwr.collector.reports import windows_of

BODY_BYTES = 1 << 20
"""Largest body as sent. The monitor's batches are a tenth of it."""

UNPACKED_BYTES = 8 << 20
"""Largest body after gzip; unpacking stops there, however small the bomb was."""

_READ_BYTES = 1 << 16


def read_body(stream: BinaryIO, encoding: str, unpacked_bytes: int = UNPACKED_BYTES) -> bytes:
    """Return the whole body, unpacked. Reads no more than is allowed.

    Args:
        stream: Where the body comes from.
        encoding: Content-Encoding: "gzip", "identity" or "".
        unpacked_bytes: Largest body after gzip.

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
    return _unpack(body, unpacked_bytes)


def _unpack(body: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    size = 0
    try:
        while not unpacker.eof:
            part = unpacker.decompress(body, _READ_BYTES)
            body = unpacker.unconsumed_tail
            size += len(part)
            if size > most:
                raise Refusal(413, "size", f"the unpacked body must be at most {most} bytes")
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
    message = parse_json(body)
    if not isinstance(message, dict):
        raise Refusal(400, "shape", f"the body must be a JSON object, got {checks.kind(message)}")
    if "lines" in message:
        return _lines(message)
    return _samples(message)


def _refuse_constant(constant: str) -> None:
    raise Refusal(400, "number", f"{constant} is not JSON; send null for a missing value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(body: bytes) -> Any:
    """Return the value that a body holds.

    Raises:
        Refusal: Not JSON in UTF-8, NaN or Infinity, nested too deep.
    """
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except RecursionError as error:
        raise Refusal(400, "json", "the JSON is nested too deep; four levels are enough") from error
    except ValueError as error:  # not UTF-8, not JSON, or an integer of thousands of digits
        raise Refusal(400, "json", f"the body is not JSON in UTF-8: {str(error)[:200]}") from error


def _samples(message: dict[str, Any]) -> SampleBatch:
    windows = windows_of(message) if "windows" in message else ()
    least = 0 if windows else 1
    metrics = (
        checks.entries(message, "metrics", checks.METRICS_MAX, least) if message.get("rows") or not windows else []
    )
    for name in metrics:
        if not isinstance(name, str) or not checks.METRIC.fullmatch(name):
            raise Refusal(
                400, "metrics", f"a metric's name must match {checks.METRIC.pattern}, got {checks.shown(name)}"
            )
    if len(set(metrics)) < len(metrics):
        raise Refusal(400, "metrics", "metrics must differ from each other")
    width = 2 + len(metrics)
    rows = checks.entries(message, "rows", checks.ROWS_MAX, least) if "rows" in message or not windows else []
    if rows and not metrics:
        raise Refusal(400, "metrics", "metrics must have 1 to 128 entries where there are rows, got 0")
    return SampleBatch(
        identifier=checks.identifier_of(message),
        run=checks.run_of(message),
        metrics=tuple(metrics),
        rows=tuple([_row(row, at, width) for at, row in enumerate(rows)]),
        about={name: check(name, message[name]) for name, check in _ABOUT.items() if name in message},
        windows=windows,
    )


def _row(row: Any, at: int, width: int) -> Row:
    if type(row) is not list or len(row) != width:
        got = f"{len(row)} values" if isinstance(row, list) else checks.kind(row)
        raise Refusal(400, "rows", f"rows[{at}] must be [sequence, time, one value a metric] ({width}), got {got}")
    for value in row:  # twenty thousand rows a second: names are made up only for what is wrong
        if type(value) is float or type(value) is int:
            if -checks.VALUE_MAX <= value <= checks.VALUE_MAX:
                continue
        elif value is None:
            continue
        checks.number(f"a value in rows[{at}]", value)
    number, time, *values = row
    if type(number) is not int or not 0 <= number <= checks.SEQUENCE_MAX:
        checks.sequence(f"rows[{at}][0], the sequence,", number)
    if type(time) is not float or not checks.TIME_RANGE[0] <= time < checks.TIME_RANGE[1]:
        time = checks.moment(f"rows[{at}][1]", time)
    return Row(number, time, tuple(values))


def _lines(message: dict[str, Any]) -> LineBatch:
    lines = checks.entries(message, "lines", checks.LINES_MAX)
    return LineBatch(
        identifier=checks.identifier_of(message),
        run=checks.run_of(message) if "run" in message else None,
        lines=tuple(_line(line, at) for at, line in enumerate(lines)),
    )


def _line(line: Any, at: int) -> Line:
    if not isinstance(line, dict):
        raise Refusal(400, "lines", f"lines[{at}] must be an object, got {checks.kind(line)}")
    return Line(
        message=checks.text(f"lines[{at}].message", line.get("message"), checks.MESSAGE_LENGTH),
        time=checks.moment(f"lines[{at}].time", line["time"]) if "time" in line else None,
        sequence=checks.sequence(f"lines[{at}].sequence", line["sequence"]) if "sequence" in line else None,
        fields={name: check(f"lines[{at}].{name}", line[name]) for name, check in _FIELDS.items() if name in line},
    )


def _checked_form(batch: LineBatch) -> LineBatch:
    checks.identifier_of({"identifier": batch.identifier})
    for line in batch.lines:
        checks.text("message", line.message, checks.MESSAGE_LENGTH)
        if line.time is not None:
            checks.moment("created", line.time)
        for name, value in line.fields.items():
            checks.text(name, value, checks.MESSAGE_LENGTH)
    return batch


_ABOUT: dict[str, Callable[[str, Any], Any]] = {
    "host": checks.text,
    "pid": checks.integer,
    "started": checks.moment,
    "interval": checks.interval,
    "units": checks.mapping(checks.text),
    "versions": checks.mapping(checks.text),
    "sources": checks.mapping(checks.text),
    "limits": checks.mapping(checks.number),
}
"""What a sender may say of itself; unknown keys are ignored, so that a newer sender is understood."""

_FIELDS: dict[str, Callable[[str, Any], str | int]] = {
    "level": checks.text,
    "logger": checks.text,
    "file": checks.text,
    "line": checks.integer,
    "function": checks.text,
    "host": checks.text,
    "pid": checks.integer,
    "thread": checks.text,
    "exception": lambda name, value: checks.text(name, value, checks.MESSAGE_LENGTH),
}
