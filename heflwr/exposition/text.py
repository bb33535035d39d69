"""Metric families as a Prometheus server reads them: the text format or OpenMetrics, compressed for who takes that.

Both formats are a few lines to write. prometheus_client would write them too, but importing it loads TLS, mail and a
web server: 0.05 s, and 9 MiB for as long as the run lasts. The tests read what is written here with its parsers.

Sources: the text format 0.0.4 (prometheus.io, "Exposition formats") and OpenMetrics 1.0.0.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import NamedTuple

from heflwr.exposition.endpoint import Answer, Request

BASE_UNITS = ("seconds", "bytes", "joules", "watts", "ratio")
"""Endings of names that OpenMetrics calls a unit."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SUFFIXES = {"counter": "_total", "info": "_info", "gauge": ""}

Labels = tuple[tuple[str, str], ...]
"""Names, each once, and their values, in any order."""


class Family(NamedTuple):
    """All series of one name.

    Attributes:
        name: Without the suffix that a kind of metric has.
        kind: "counter", "gauge" or "info".
        help: One sentence, without line breaks and backslashes.
        rows: Labels and value of each series.
    """

    name: str
    kind: str
    help: str
    rows: Iterable[tuple[Labels, float]]

    def lines(self, is_openmetrics: bool) -> Iterator[str]:
        """Yield the family's lines: OpenMetrics names a family without its suffix, has units and the kind "info"."""
        name, kind = self.name, self.kind
        series = name + _SUFFIXES[kind]
        if not is_openmetrics:
            name, kind = series, "gauge" if kind == "info" else kind
        yield from _head(name, kind, self.help, _unit(self.name) if is_openmetrics else "")
        for labels, value in self.rows:
            yield _line(series, labels, value)


class Histogram(NamedTuple):
    """All series of a name whose values are distributions.

    Attributes:
        name: Without the suffixes of its series.
        help: One sentence, without line breaks and backslashes.
        bounds: Upper bounds of the buckets, rising, without the infinite one.
        rows: Labels, values in each bucket (one more than bounds), and their sum, of each series.
    """

    name: str
    help: str
    bounds: Sequence[float]
    rows: Iterable[tuple[Labels, Sequence[int], float]]

    def lines(self, is_openmetrics: bool) -> Iterator[str]:
        """Yield the histogram's lines; buckets hold what is below their bound, all of it."""
        yield from _head(self.name, "histogram", self.help, _unit(self.name) if is_openmetrics else "")
        bounds = [_number(bound) for bound in (*self.bounds, float("inf"))]
        for labels, counts, total in self.rows:
            below = 0
            for bound, count in zip(bounds, counts, strict=True):
                below += count
                yield _line(f"{self.name}_bucket", (*labels, ("le", bound)), below)
            yield _line(f"{self.name}_sum", labels, total)
            yield _line(f"{self.name}_count", labels, below)


class Format(NamedTuple):
    """What a client takes."""

    is_openmetrics: bool
    is_compressed: bool


def format_for(request: Request) -> Format:
    """Return the format that the client prefers."""
    wanted = _weights(request.headers.get("accept", ""))
    openmetrics = wanted.get("application/openmetrics-text", 0.0)
    return Format(
        is_openmetrics=openmetrics > 0 and openmetrics >= wanted.get("text/plain", 0.0),
        is_compressed=_weights(request.headers.get("accept-encoding", "")).get("gzip", 0.0) > 0,
    )


def render(families: Iterable[Family | Histogram], format: Format) -> Answer:
    """Return an answer that holds these families."""
    lines = [line for family in families for line in family.lines(format.is_openmetrics)]
    body = "\n".join([*lines, "# EOF\n" if format.is_openmetrics else ""]).encode()
    headers = {"Vary": "Accept, Accept-Encoding"}
    if format.is_compressed:
        body = gzip.compress(body, compresslevel=1)  # a fifth of the size for 0.1 ms: uplinks are thin
        headers["Content-Encoding"] = "gzip"
    return Answer(HTTPStatus.OK, body, OPENMETRICS if format.is_openmetrics else TEXT, headers)


def _head(name: str, kind: str, help: str, unit: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    if unit:
        yield f"# UNIT {name} {unit}"


def _unit(name: str) -> str:
    """Return the unit that a name without its suffix ends in, "" for none."""
    ending = name.rpartition("_")[2]
    return ending if ending in BASE_UNITS else ""


def _line(series: str, labels: Labels, value: float) -> str:
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in sorted(labels))
    return f"{series}{{{pairs}}} {_number(value)}" if pairs else f"{series} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text := repr(float(value)), text)


def _weights(header: str) -> dict[str, float]:
    """Return each choice of an Accept or Accept-Encoding header with its highest weight; what is not a weight is 0."""
    weights: dict[str, float] = {}
    for entry in header.split(","):
        choice, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        weights[choice] = max(weight, weights.get(choice, 0.0))
    return weights
