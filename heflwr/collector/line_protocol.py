"""From InfluxDB's line protocol to batches of samples: what Telegraf, and whatever else writes to InfluxDB, sends.

A series (a measurement and its tags) becomes a run of a client, its points that run's samples. Lines of heflwr's own
sink (measurement `heflwr`, tags `identifier` and `run`, field `sequence`) become what the remote sink would have sent.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any, NamedTuple

from heflwr.collector.checks import IDENTIFIER_LENGTH, METRICS_MAX, SEQUENCE_MAX, TEXT_LENGTH
from heflwr.collector.line_syntax import CACHED, PRECISIONS, points
from heflwr.collector.records import Refusal, Row, SampleBatch

__all__ = ["PRECISIONS", "parse_lines"]

OWN = "heflwr"
"""Measurement whose fields are heflwr's metrics by their plain names."""

_RUN = re.compile(r"[0-9A-Za-z_-]{1,64}")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DIGEST_BYTES = 4


class _Series(NamedTuple):
    """Whose samples the points of a measurement and its tags are.

    Attributes:
        identifier: The tag `identifier`, else the tag `host`; "" without both.
        run: The tag `run` of our own sink, else a name made of measurement and tags.
        measurement: As written.
        host: The tag `host`, "" without it.
        source: The other tags, as text.
    """

    identifier: str
    run: str
    measurement: str
    host: str
    source: str

    def about(self) -> dict[str, Any]:
        """Return what the lines say of their sender, as in SampleBatch.about."""
        about: dict[str, Any] = {"host": self.host} if self.host else {}
        return (
            about | {"sources": {self.measurement[:TEXT_LENGTH]: self.source[:TEXT_LENGTH]}} if self.source else about
        )


def parse_lines(
    body: bytes, *, precision: str = "ns", received: float, identifier: str = ""
) -> tuple[SampleBatch, ...]:
    """Return the numbers of a body in line protocol as samples; strings are left out.

    Args:
        body: Unpacked, UTF-8.
        precision: Unit of the lines' times, a key of PRECISIONS.
        received: Unix time of arrival, seconds: for lines without a time.
        identifier: For lines that have neither a tag `identifier` nor a tag `host`.

    Returns:
        Batches, each of one identifier, run and set of metrics. A sample's sequence is its field `sequence` where it is
        one of ours, else its time in microseconds: a line that comes again is a duplicate. What several lines of a
        body say of one moment of a series is one sample.

    Raises:
        Refusal: 400 with the number of the line; nothing of the body is taken.
    """
    merged: dict[tuple[_Series, int], dict[str, float | int]] = {}
    for point in points(body, precision):
        if point.fields:
            time_ns = round(received * 1e6) * 1_000 if point.time_ns is None else point.time_ns
            moment = merged.setdefault((_series(point.measurement, point.tags), time_ns // 1_000), {})
            for name, value in point.fields.items():
                moment[_metric(point.measurement, name)] = value
    return _batches(merged, identifier)


def _batches(merged: dict[tuple[_Series, int], dict[str, float | int]], identifier: str) -> tuple[SampleBatch, ...]:
    rows: dict[tuple[_Series, tuple[str, ...]], list[Row]] = {}
    for (series, microseconds), values in merged.items():
        sequence = values.pop("sequence", microseconds) if series.measurement == OWN else microseconds
        if not isinstance(sequence, int) or not 0 <= sequence <= SEQUENCE_MAX:
            raise Refusal(400, "sequence", f"the field sequence must be an integer from 0 to 2**53, got {sequence}")
        if len(values) > METRICS_MAX:
            raise Refusal(400, "metrics", f"a series must have at most {METRICS_MAX} fields, got {len(values)}")
        if not (series.identifier or identifier):
            text = f"a line of {series.measurement[:40]!r} has neither a tag identifier nor a tag host"
            raise Refusal(400, "identifier", text)
        if values:
            row = Row(sequence, microseconds / 1e6, tuple(values.values()))
            rows.setdefault((series, tuple(values)), []).append(row)
    return tuple(
        SampleBatch(series.identifier or identifier, series.run, metrics, tuple(found), series.about())
        for (series, metrics), found in rows.items()
    )


@lru_cache(CACHED)
def _series(measurement: str, tags: tuple[tuple[str, str], ...]) -> _Series:
    rest = dict(tags)
    host = rest.pop("host", "")
    identifier = rest.pop("identifier", "") or host
    if len(identifier) > IDENTIFIER_LENGTH:
        text = f"the tag identifier (or host) must have at most {IDENTIFIER_LENGTH} characters, got {len(identifier)}"
        raise Refusal(400, "identifier", text)
    run = rest.pop("run", "") if measurement == OWN else ""
    if run and not _RUN.fullmatch(run):
        raise Refusal(400, "run", f"the tag run must match {_RUN.pattern}, got {run[:40]!r}")
    source = ",".join(f"{name}={value}" for name, value in rest.items())
    return _Series(identifier, run or _run(measurement, rest), measurement, host, source)


def _run(measurement: str, tags: dict[str, str]) -> str:
    """Return a run's name for a series: readable, and never that of another series."""
    if not tags and _RUN.fullmatch(measurement):
        return measurement
    readable = re.sub(r"[^0-9A-Za-z_]+", "-", "-".join([measurement, *tags.values()]))
    return _distinct(readable, repr((measurement, tags)), "-")


@lru_cache(CACHED)
def _metric(measurement: str, field: str) -> str:
    """Return a metric's name: the field's in our own measurement, else with the measurement in front of it."""
    name = field if measurement == OWN else f"{measurement}_{field}"
    if _METRIC.fullmatch(name):
        return name
    readable = re.sub(r"[^a-z0-9_]+", "_", name.lower())
    return _distinct(readable if readable[:1].isalpha() else f"x{readable}", name, "_")


def _distinct(readable: str, exact: str, mark: str) -> str:
    """Return 64 characters at most that differ where `exact` does."""
    digest = hashlib.blake2b(exact.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{readable[: 63 - len(digest)].strip(mark)}{mark}{digest}"
