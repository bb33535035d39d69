"""A history as JSON lines: a header opens a run, then a line a message, then what belongs to the run as a whole.

What comes back equals what was written, to the last bit of a number. JSON has no word for NaN and infinity, so they are
written as the texts "NaN", "Infinity" and "-Infinity". A reader takes what it knows and leaves other fields alone.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from heflwr import __version__
from heflwr.flower.cost import COLUMNS
from heflwr.flower.entry import Entry
from heflwr.flower.history.contents import Contents

HEADER = "heflwr history"
"""The `type` of the line that opens a run."""

VERSION = 1

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""Whatever decoding raises on what is not ours."""

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class UnknownVersion(ValueError):
    """The file was written by a later heflwr, in a form that this one cannot read."""


def header() -> str:
    """Return the line that opens a run, its end included."""
    units = {column.name: column.unit for column in COLUMNS}
    return _line({"type": HEADER, "version": VERSION, "heflwr": __version__, "units": units})


def message(entry: Entry) -> str:
    """Return an entry as a line, its end included."""
    row = {name: getattr(entry, name) for name in _FIELDS}
    row |= {name: dict(row[name]) for name in ("cost", "metrics", "sources")}
    return _line({"type": "message", **row})


def rest(contents: Contents) -> Iterator[str]:
    """Yield what a run has besides its messages, as lines."""
    for number, metrics in sorted(contents.scores.items()):
        yield _line({"type": "score", "round": number, "metrics": metrics})
    if contents.overhead:
        yield _line({"type": "overhead", "overhead": contents.overhead})
    if contents.faults:
        yield _line({"type": "faults", "faults": contents.faults, "last_fault": contents.last_fault})


def read(lines: Iterable[str]) -> Contents:
    """Read the newest run of a file: what follows the last header.

    Raises:
        ValueError: There is no header: it is no history. `UnknownVersion` where it is one of a later heflwr.
    """
    contents: Contents | None = None
    bad_lines = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if is_header(row):
                contents = Contents()
            elif contents is None:
                bad_lines += 1
            else:
                _take(contents, row)
        except UnknownVersion:
            raise
        except MALFORMED:
            bad_lines += 1
    if contents is None:
        raise ValueError(f"no line with the type {HEADER!r}")
    contents.bad_lines = bad_lines
    return contents


def is_header(row: Any) -> bool:
    """Tell whether a decoded line opens a run. Raises UnknownVersion where it is of a later heflwr."""
    if not isinstance(row, dict) or row.get("type") != HEADER:
        return False
    if row.get("version") != VERSION:
        raise UnknownVersion(f"version {row.get('version')!r}, written by heflwr {row.get('heflwr')}; update heflwr")
    return True


def entry_of(row: Mapping[str, Any]) -> Entry:
    """Return the entry that a decoded line holds. Raises one of `MALFORMED` where it holds none."""
    return Entry(**{name: decode(row[name]) for name, decode in _FIELDS.items() if name in row})


def _take(contents: Contents, row: Any) -> None:
    match row["type"]:
        case "message":
            contents.entries.append(entry_of(row))
        case "score":
            contents.scores.setdefault(_integer(row["round"]), {}).update(_numbers(row["metrics"]))
        case "overhead":
            contents.overhead = _numbers(row["overhead"])
        case "faults":
            contents.faults = {_text(part): _integer(count) for part, count in row["faults"].items()}
            contents.last_fault = _text(row.get("last_fault", ""))
        case unknown:
            raise ValueError(f"no such type of line: {unknown!r}")


def _line(row: dict[str, Any]) -> str:
    try:
        text = json.dumps(row, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):  # rare enough not to look at every number first
        text = json.dumps(_plain(row), allow_nan=False, separators=(",", ":"))
    return text + "\n"


def _plain(value: Any) -> Any:
    """Return the nearest that JSON can say."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, int)):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"not a whole number: {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, str):
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"not a number: {value!r}")
    float(value)  # raises OverflowError where it is too large to reckon with
    return value


def _optional_number(value: Any) -> float | None:
    return None if value is None else _number(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"not a text: {value!r}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"neither true nor false: {value!r}")
    return value


def _numbers(value: Any) -> dict[str, float]:
    """Return a mapping of numbers; its names are shared with those of all other lines, of which there are many."""
    return {sys.intern(name): _number(inner) for name, inner in value.items()}


def _texts(value: Any) -> dict[str, str]:
    return {sys.intern(name): sys.intern(_text(inner)) for name, inner in value.items()}


def _notes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r}")
    return tuple(sys.intern(_text(inner)) for inner in value)


def _word(value: Any) -> str:
    return sys.intern(_text(value))


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "node": _integer,
    "name": _word,
    "round": _integer,
    "kind": _word,
    "sent": _number,
    "received": _optional_number,
    "status": _word,
    "error": _text,
    "bytes_sent": _integer,
    "bytes_received": _integer,
    "started": _optional_number,
    "cost": _numbers,
    "metrics": _numbers,
    "host": _word,
    "in_simulation": _flag,
    "sources": _texts,
    "notes": _notes,
}
"""Every field of an Entry, and what makes it of a decoded line."""
