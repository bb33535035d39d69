"""A run as Prometheus sees it: metric families of the latest sample and of running sums, in text or OpenMetrics.

Both formats are a few lines to write. prometheus_client would write them too, but importing it loads TLS, mail and a
web server: 0.05 s, and 9 MiB for as long as the run lasts. The tests read what is written here with its parsers.

Sources: the text format 0.0.4 (prometheus.io, "Exposition formats") and OpenMetrics 1.0.0.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple

from heflwr.monitor.metrics import Kind, Metric, Prometheus
from heflwr.monitor.sample import MISSING, Run, Sample
from heflwr.monitor.sinks._endpoint import Answer, Request

BASE_UNITS = ("seconds", "bytes", "joules", "watts", "ratio")
"""Endings of names that OpenMetrics calls a unit."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SUFFIXES = {"counter": "_total", "info": "_info", "gauge": ""}

_ABOUT = {"version": "heflwr", "python": "python", "platform": "platform"}
"""Labels of heflwr_build_info, and where a run's versions hold them."""


class _Latest(NamedTuple):
    """What a scrape sees, replaced as one."""

    samples: int
    time: float
    values: tuple[float, ...]


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
    rows: tuple[tuple[dict[str, str], float], ...]

    def lines(self, is_openmetrics: bool) -> Iterator[str]:
        """Yield the family's lines: OpenMetrics names a family without its suffix, has units and the kind "info"."""
        name, kind = self.name, self.kind
        series = name + _SUFFIXES[kind]
        if not is_openmetrics:
            name, kind = series, "gauge" if kind == "info" else kind
        yield f"# HELP {name} {self.help}"
        yield f"# TYPE {name} {kind}"
        unit = self.name.rpartition("_")[2]
        if is_openmetrics and unit in BASE_UNITS:
            yield f"# UNIT {name} {unit}"
        for labels, value in self.rows:
            pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in sorted(labels.items()))
            yield f"{series}{{{pairs}}} {_number(value)}" if pairs else f"{series} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text := repr(float(value)), text)


class Exposition:
    """Takes samples from the sampling loop and answers scrapes from any thread, each with one whole sample."""

    def __init__(self, run: Run, labels: Mapping[str, str]) -> None:
        """Begin a run: all sums are zero.

        Args:
            run: The run that samples belong to.
            labels: Constant labels on every metric.
        """
        self._run = run
        self._labels = dict(labels)
        self._sums = [0.0] * len(run.metrics)
        self._latest = _Latest(0, MISSING, (MISSING,) * len(run.metrics))
        self._families: dict[str, list[tuple[int, Metric, Prometheus]]] = {}
        for index, metric in enumerate(run.metrics):
            if metric.prometheus is not None:
                self._families.setdefault(metric.prometheus.name, []).append((index, metric, metric.prometheus))

    def take(self, sample: Sample) -> None:
        """Let scrapes see this sample from now on."""
        values = list(sample.values)
        for index, metric in enumerate(self._run.metrics):
            if metric.kind is Kind.DELTA:
                values[index] = self._add(index, values[index])
        self._latest = _Latest(sample.sequence + 1, sample.time, tuple(values))

    def _add(self, index: int, value: float) -> float:
        """Return the counter's value; a power rail may read below zero at idle, but a counter must never fall."""
        before = self._latest.values[index]
        if value != value:
            return before
        self._sums[index] += value
        return max(self._sums[index], 0.0 if before != before else before)

    def _collect(self) -> Iterator[Family]:
        """Yield every family that has a value."""
        latest = self._latest
        about = {label: self._run.versions.get(name, "") for label, name in _ABOUT.items()}
        yield self._family("heflwr_build", "info", "Versions of heflwr, Python and the platform.", (about, 1.0))
        yield self._family("heflwr_samples", "counter", "Samples taken since start.", ({}, latest.samples))
        yield self._family(
            "heflwr_sample_interval_seconds", "gauge", "Time between samples, as asked for.", ({}, self._run.interval)
        )
        if latest.samples:
            yield self._family(
                "heflwr_last_sample_timestamp_seconds",
                "gauge",
                "Unix time of the sample that the other metrics show.",
                ({}, latest.time),
            )
        for name, members in self._families.items():
            rows = [
                (dict(exported.labels), latest.values[index] * exported.scale)
                for index, _, exported in members
                if latest.values[index] == latest.values[index]
            ]
            if rows:
                _, metric, exported = members[0]
                kind = "counter" if metric.kind is Kind.DELTA else "gauge"
                yield self._family(name, kind, exported.help or metric.help, *rows)

    def _family(self, name: str, kind: str, help: str, *rows: tuple[dict[str, str], float]) -> Family:
        return Family(name, kind, help, tuple(({**self._labels, **labels}, value) for labels, value in rows))

    def answer(self, request: Request) -> Answer:
        """Return the metrics in the format that the client prefers."""
        wanted = _weights(request.headers.get("accept", ""))
        openmetrics = wanted.get("application/openmetrics-text", 0.0)
        is_openmetrics = openmetrics > 0 and openmetrics >= wanted.get("text/plain", 0.0)
        lines = [line for family in self._collect() for line in family.lines(is_openmetrics)]
        body = "\n".join([*lines, "# EOF\n" if is_openmetrics else ""]).encode()
        headers = {"Vary": "Accept, Accept-Encoding"}
        if _weights(request.headers.get("accept-encoding", "")).get("gzip", 0.0) > 0:
            body = gzip.compress(body, compresslevel=1)  # a fifth of the size for 0.1 ms: uplinks are thin
            headers["Content-Encoding"] = "gzip"
        return Answer(HTTPStatus.OK, body, OPENMETRICS if is_openmetrics else TEXT, headers)


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
