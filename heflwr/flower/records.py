"""What rides on Flower's messages: a ConfigRecord of ours for each purpose; how large a message is, and its round.

Strategies aggregate ArrayRecords and MetricRecords and insist that all replies have the same keys there; a ConfigRecord
with a name of its own they leave alone. Nothing here trusts what came over a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from heflwr.flower.cost import NAMES, Report, is_possible

RECORD = "heflwr.report"
"""Name of our record on a reply."""

WATCH = "heflwr.watch"
"""Name of the bridge's record: on messages what the server asks, on replies what the node says, in its state what it
remembers (see `heflwr.flower.watch.wire`)."""

BETWEEN = "between_"
"""In a local vector's sample, begins the names of what a resident agent sampled since the call before."""

AGENT = "between_agent"
"""There is such an agent, which may only be starting."""

QUERY = "query.heflwr"
"""Type of the messages that the bridge sends for its own sake; the client's mod answers them, the app is not called."""

FORMAT = 1
"""Of the record. Columns may be added at the end under the same number; a reader takes those that it knows."""

ABOUT_LENGTH = 2048
"""Longest text that is read, in characters; one that we write is far shorter."""

ABOUT_BYTES = 600
"""Longest text that is written: with the numbers, the record of the next versions included, less than 1 KiB."""

NAME_BYTES = 64
"""Of a host or a node, as JSON writes it: what Linux allows for a host's name."""

SOURCE_BYTES = 48
NOTES = 4
NOTE_LENGTH = 100
"""How much a report says of its sources and of what it could not measure: a reply must stay small."""

STARTED_RANGE = (1_577_836_800.0, 4_102_444_800.0)
"""Unix time, the years 2020 to 2100: a clock that says otherwise was never set."""


ROUND_KEYS = ("server-round", "server_round", "round", "current_round")
"""Where strategies and users put the round into a message's configuration; the first is Flower's own."""


class MalformedReport(ValueError):
    """A record with our name that is not a report of ours; the text quotes nothing of any length."""


def round_of(message: Message) -> int:
    """Return the round that a message says it belongs to, 0 where it does not say."""
    for record in message.content.values():
        if isinstance(record, ConfigRecord):
            for key in ROUND_KEYS:
                value = record.get(key)
                if type(value) is int and value > 0:
                    return value
    group = message.metadata.group_id
    return int(group) if group.isdecimal() else 0


def encode(report: Report) -> ConfigRecord:
    """Return the record: some 300 bytes of numbers and at most `ABOUT_BYTES` of text, whatever the report says."""
    sources = {group: _cut(source, SOURCE_BYTES) for group, source in report.sources.items()}
    notes: list[str] = []
    about = {
        "host": name(report.host),
        "name": name(report.name),
        "pid": report.pid,
        "started": report.started,
        "in_simulation": report.in_simulation,
        "sources": sources,
        "notes": notes,
    }
    while sources and len(_json(about)) > ABOUT_BYTES:
        sources.popitem()
    told = report.notes[:NOTES]
    for place, note in enumerate(told):
        room = (ABOUT_BYTES - len(_json(about))) // (len(told) - place) - len(',""')
        notes.append(_cut(note, room))
    values = [report.cost.get(name, math.nan) for name in NAMES]
    finite = [float(value) if math.isfinite(value) else math.nan for value in values]
    return ConfigRecord({"format": FORMAT, "values": finite, "about": _json(about).decode()})


def decode(record: ConfigRecord) -> Report:
    """Return the report that a record carries, numbers that cannot be left out and noted.

    Raises:
        MalformedReport: It carries none.
    """
    version, values, about = record.get("format"), record.get("values"), record.get("about")
    if type(version) is not int:
        raise MalformedReport(f"its format is a {type(version).__name__}, this heflwr reads {FORMAT}")
    if version != FORMAT:
        raise MalformedReport(f"a report of format {version}, this heflwr reads {FORMAT}")
    if not isinstance(values, list):
        raise MalformedReport("its values are not a list")
    if not isinstance(about, str) or len(about) > ABOUT_LENGTH:
        raise MalformedReport("its text is missing or too long")
    try:
        told = json.loads(about)
        if not isinstance(told, dict):
            raise TypeError(f"a {type(told).__name__} in place of an object")
        cost = {name: _number(value) for name, value in zip(NAMES, values, strict=False) if value == value}
        impossible = [name for name, value in cost.items() if not is_possible(name, value)]
        notes = [_text(note) for note in list(told["notes"])[:NOTES]]
        if impossible:
            notes.append(_printable(f"impossible numbers were left out: {', '.join(impossible)}"))
        started = _number(told["started"])
        return Report(
            cost={name: value for name, value in cost.items() if name not in impossible},
            started=started if STARTED_RANGE[0] <= started <= STARTED_RANGE[1] else 0.0,
            host=_text(told["host"]),
            name=_text(told["name"]),
            pid=int(_number(told["pid"])),
            in_simulation=told["in_simulation"] is True,
            sources={_text(group): _text(source) for group, source in dict(told["sources"]).items()},
            notes=tuple(notes),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MalformedReport(f"its text is no description of a call: {type(error).__name__}: {error}") from error


def name(text: str) -> str:
    """Return the name of a host or a node as a report carries it: printable, at most `NAME_BYTES` long."""
    return _cut(text, NAME_BYTES)


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"a {type(value).__name__} in place of a number")
    if not math.isfinite(value):
        raise ValueError(f"{value} in place of a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} in place of a text")
    return _printable(value)


def _printable(text: str) -> str:
    """Return the beginning of a text, a blank for a blank or a new line, "?" for what no terminal or file may get."""
    return "".join(
        letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text[:NOTE_LENGTH]
    )


def _cut(text: str, room: int) -> str:
    """Return as much of the beginning as takes no more than `room` bytes in JSON, its quotes left out."""
    text = _printable(text)
    while text and len(_json(text)) - len('""') > room:
        text = text[:-1]
    return text


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def attach(reply: Message, report: Report) -> None:
    """Put the report on a reply."""
    put(reply, RECORD, encode(report))


def put(message: Message, name: str, record: ConfigRecord) -> None:
    """Put a record of ours on a message; the user's own RecordDict, which other messages may share, stays as it is."""
    content = RecordDict(dict(message.content.items()))
    content[name] = record
    message.content = content


def detach(message: Message, name: str = RECORD) -> ConfigRecord | None:
    """Take a record of ours off a message and return it; None where there is none.

    Raises:
        MalformedReport: Something else has its name.
    """
    if not message.has_content() or name not in message.content:
        return None
    ours = message.content[name]
    message.content = RecordDict({other: record for other, record in message.content.items() if other != name})
    if not isinstance(ours, ConfigRecord):
        raise MalformedReport(f"a {type(ours).__name__} in place of a ConfigRecord")
    return ours


def sizes(content: RecordDict) -> tuple[int, int, int]:
    """Return the bytes of a message's arrays, metrics and configuration: values and names, without the framing."""
    arrays = metrics = config = 0
    for record in content.values():
        if isinstance(record, ArrayRecord):
            arrays += sum(len(name) + len(array.data) for name, array in record.items())
        elif isinstance(record, MetricRecord):
            metrics += _bytes(record)
        elif isinstance(record, ConfigRecord):
            config += _bytes(record)
    return arrays, metrics, config


def _bytes(record: Mapping[str, Any]) -> int:
    total = 0
    for name, value in record.items():
        values = value if isinstance(value, list) else [value]
        if not values or not isinstance(values[0], (str, bytes)):  # Flower's lists are of one kind
            total += len(name) + len(values) * (1 if values and isinstance(values[0], bool) else 8)
        else:
            total += len(name) + sum(map(len, values))
    return total
