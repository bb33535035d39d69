"""The grammar of InfluxDB's line protocol: bytes in, points out. What they mean to us is `line_protocol`'s business.

    measurement,tag=value,... field=value,field=value,... time

Rules and escapes are those of InfluxDB 1.x: a comma, a blank or an equals sign behind a backslash separates nothing,
any other backslash is itself, and a quoted string may hold the end of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from heflwr.collector.checks import METRICS_MAX, ROWS_MAX, TIME_RANGE, VALUE_MAX
from heflwr.collector.records import Refusal

PRECISIONS: Mapping[str, int] = MappingProxyType(
    {
        "ns": 1,
        "n": 1,
        "us": 1_000,
        "u": 1_000,
        "ms": 1_000_000,
        "s": 10**9,
        "m": 60 * 10**9,
        "h": 3_600 * 10**9,
    }
)
"""Nanoseconds in the unit of a line's time, by the names that InfluxDB 1 and 2 give it."""

SERIES_LENGTH = 8_192
"""Longest measurement with its tags, characters."""

FIELD_LENGTH = 1_024
"""Longest name of a field, characters."""

CACHED = 1_024
"""Series and names that stay taken apart: a client sends the same ones again and again."""

_GAP = re.compile(r"[ \t\r\n]*(?:#[^\n]*[ \t\r\n]*)*")
_SERIES_END = re.compile(r"(?<!\\)[ \n]|\Z")
_FIELD = re.compile(
    r" *(?P<name>(?:[^,= \n\\]|\\[,= ]|\\(?![,= ]))++)="
    r'(?:"(?:[^"\\]|\\[\s\S])*+"|(?P<value>[^, \r\n"]++))(?P<more>,?)'
)
_TIME = re.compile(r" *(?P<time>-?[0-9]{1,20})?[ \r]*(?:\n|\Z)")
_WHOLE = re.compile(r"-?[0-9]{1,20}[iu]")
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,5})?")
_TRUTHS = {
    name: float(name[0] in "tT") for name in ("t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE")
}
_BETWEEN_TAGS = re.compile(r"(?<!\\),")
_BEHIND_NAME = re.compile(r"(?<!\\)=")
_ESCAPE = re.compile(r"\\([,= ])")


class Point(NamedTuple):
    """One line.

    Attributes:
        measurement: Its name.
        tags: (name, value) pairs by name, each name once.
        fields: The numeric fields; truth values are 0 and 1, strings are left out.
        time_ns: Unix time in nanoseconds, None where the line has none.
    """

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: dict[str, float | int]
    time_ns: int | None


def points(body: bytes, precision: str) -> Iterator[Point]:
    """Yield what the lines of a body say.

    Args:
        body: Unpacked, UTF-8.
        precision: Unit of the lines' times, a key of PRECISIONS.

    Raises:
        Refusal: 400, with the number of the line.
    """
    unit = PRECISIONS.get(precision)
    if unit is None:
        raise Refusal(400, "precision", f"precision must be one of {', '.join(PRECISIONS)}, got {precision[:40]!r}")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, "line", f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    if "\0" in text:
        raise Refusal(400, "text", "the body holds a NUL character, which PostgreSQL cannot store")
    at = _behind_gap(text, 0)
    lines = 0
    while at < len(text):
        lines += 1
        if lines > ROWS_MAX:
            raise Refusal(400, "lines", f"a body must have at most {ROWS_MAX} lines; send fewer a request")
        try:
            point, end = _line(text, at, unit)
        except ValueError as error:
            raise Refusal(400, "line", f"line {text.count(chr(10), 0, at) + 1}: {error}") from error
        yield point
        at = _behind_gap(text, end)


def _behind_gap(text: str, at: int) -> int:
    """Return where the next line begins that is neither blank nor a comment."""
    gap = _GAP.match(text, at)
    assert gap is not None  # it matches nothing, too
    return gap.end()


def _line(text: str, at: int, unit: int) -> tuple[Point, int]:
    """Return a point, and where its line ends. Raises ValueError."""
    end = _SERIES_END.search(text, at)
    assert end is not None  # the end of the text is one
    if end.start() - at > SERIES_LENGTH:
        raise ValueError(f"measurement and tags must have at most {SERIES_LENGTH} characters")
    if end[0] != " ":
        raise ValueError(f"there are no fields behind {text[at : end.start()][:40]!r}")
    measurement, tags = _series(text[at : end.start()])
    at = end.end()
    fields: dict[str, float | int] = {}
    more = ","
    while more:
        field = _FIELD.match(text, at)
        if field is None:
            raise ValueError(f"a field must be name=value, got {_shown(text, at)}")
        name, value, more = field.group("name", "value", "more")
        if value is not None:
            fields[_unescaped(name)] = _number(value)
        at = field.end()
    time = _TIME.match(text, at)
    if time is None:
        raise ValueError(f"a line must end with its time, an integer, got {_shown(text, at)}")
    if len(fields) > METRICS_MAX:
        raise ValueError(f"a line must have at most {METRICS_MAX} fields, got {len(fields)}")
    return Point(measurement, tags, fields, _nanoseconds(time["time"], unit)), time.end()


@lru_cache(CACHED)
def _series(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return measurement and tags. Raises ValueError."""
    measurement, *parts = _BETWEEN_TAGS.split(text)
    if not measurement:
        raise ValueError("a line begins with its measurement")
    tags: dict[str, str] = {}
    for part in parts:
        pair = _BEHIND_NAME.split(part)
        if len(pair) != 2 or not all(pair):
            raise ValueError(f"a tag must be name=value, got {part[:40]!r}")
        name, value = map(_unescaped, pair)
        if name in tags:
            raise ValueError(f"the tag {name[:40]!r} is there twice")
        tags[name] = value
    return re.sub(r"\\([, ])", r"\1", measurement), tuple(sorted(tags.items()))


def _unescaped(text: str) -> str:
    if len(text) > FIELD_LENGTH:
        raise ValueError(f"the name of a field or tag, and a tag's value, must have at most {FIELD_LENGTH} characters")
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


def _number(value: str) -> float | int:
    """Return a field's number. Raises ValueError."""
    if _WHOLE.fullmatch(value):
        whole = int(value[:-1])
        return whole if -(2**63) <= whole < 2**63 else float(whole)
    if _NUMBER.fullmatch(value) and abs(number := float(value)) <= VALUE_MAX:
        return number
    if value in _TRUTHS:
        return _TRUTHS[value]
    raise ValueError(
        f'a value must be a finite number ({VALUE_MAX:g} at most), a truth value or a "text", got {value[:40]!r}'
    )


def _nanoseconds(time: str | None, unit: int) -> int | None:
    """Return a line's time. Raises ValueError."""
    if time is None:
        return None
    nanoseconds = int(time) * unit
    if not TIME_RANGE[0] * 1e9 <= nanoseconds < TIME_RANGE[1] * 1e9:
        raise ValueError(f"the time must be from 1970 to 2200, got {time}; is precision= its unit?")
    return nanoseconds


def _shown(text: str, at: int) -> str:
    return repr(text[at : at + 40].partition("\n")[0])
