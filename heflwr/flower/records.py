"""What rides on Flower's messages: one ConfigRecord of ours on a reply, and how large the records of a message are.

Strategies aggregate ArrayRecords and MetricRecords and insist that all replies have the same keys there; a ConfigRecord
with a name of its own they leave alone. Nothing here trusts what came over a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from heflwr.flower.cost import NAMES, Report

RECORD = "heflwr.report"
"""Name of our record on a reply."""

FORMAT = 1
"""Of the record. Columns may be added at the end under the same number; a reader takes those that it knows."""

ABOUT_LENGTH = 2048
"""Longest text that a report may carry; one that we write is far shorter."""

NOTES = 4
NOTE_LENGTH = 100
"""How much a report says of what it could not measure: a reply must stay small."""


class MalformedReport(ValueError):
    """A record with our name that is not a report of ours."""


def encode(report: Report) -> ConfigRecord:
    """Return the record: some 300 bytes of numbers and as much text."""
    about = {
        "host": report.host[:NOTE_LENGTH],
        "name": report.name[:NOTE_LENGTH],
        "pid": report.pid,
        "started": report.started,
        "in_simulation": report.in_simulation,
        "sources": {group: source[:NOTE_LENGTH] for group, source in report.sources.items()},
        "notes": [note[:NOTE_LENGTH] for note in report.notes[:NOTES]],
    }
    values = [float(report.cost.get(name, math.nan)) for name in NAMES]
    return ConfigRecord({"format": FORMAT, "values": values, "about": json.dumps(about)})


def decode(record: ConfigRecord) -> Report:
    """Return the report that a record carries. Raises MalformedReport where it carries none."""
    version, values, about = record.get("format"), record.get("values"), record.get("about")
    if version != FORMAT:
        raise MalformedReport(f"a report of format {version!r}, this heflwr reads {FORMAT}")
    if not isinstance(values, list):
        raise MalformedReport("its values are not a list")
    if not isinstance(about, str) or len(about) > ABOUT_LENGTH:
        raise MalformedReport("its text is missing or too long")
    try:
        told = json.loads(about)
        if not isinstance(told, dict):
            raise TypeError(f"a {type(told).__name__} in place of an object")
        return Report(
            cost={name: _number(value) for name, value in zip(NAMES, values, strict=False) if value == value},
            started=_number(told["started"]),
            host=_text(told["host"]),
            name=_text(told["name"]),
            pid=int(_number(told["pid"])),
            in_simulation=told["in_simulation"] is True,
            sources={_text(group): _text(source) for group, source in dict(told["sources"]).items()},
            notes=tuple(_text(note) for note in list(told["notes"])[:NOTES]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MalformedReport(f"its text is no description of a call: {type(error).__name__}: {error}") from error


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{value!r} in place of a number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} in place of a text")
    return value[:NOTE_LENGTH]


def attach(reply: Message, report: Report) -> None:
    """Put the report on a reply; the user's own RecordDict, which other replies may share, is left as it is."""
    content = RecordDict(dict(reply.content.items()))
    content[RECORD] = encode(report)
    reply.content = content


def detach(reply: Message) -> ConfigRecord | None:
    """Take our record off a reply and return it; None where there is none."""
    if not reply.has_content() or RECORD not in reply.content:
        return None
    ours = reply.content[RECORD]
    reply.content = RecordDict({name: record for name, record in reply.content.items() if name != RECORD})
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
        total += len(name) + sum(
            len(v) if isinstance(v, (str, bytes)) else 1 if isinstance(v, bool) else 8 for v in values
        )
    return total
