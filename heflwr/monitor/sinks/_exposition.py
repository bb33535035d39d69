"""A run as Prometheus sees it: metric families of the latest sample and of running sums, in text or OpenMetrics.

The one home of prometheus_client (0.05 s to import, 9 MiB): the sink imports this module when it opens.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from heflwr.monitor.metrics import Kind
from heflwr.monitor.sample import MISSING, Run, Sample

BASE_UNITS = ("seconds", "bytes", "joules", "watts", "ratio")
"""Endings of names that OpenMetrics calls a unit."""

_SUFFIXES = {"counter": "_total", "info": "_info", "gauge": ""}


class _Latest(NamedTuple):
    """What a scrape sees, replaced as one."""

    samples: int
    time: float
    values: tuple[float, ...]


class _Collector:
    """Keeps the latest sample and the sums of a run, and makes metric families of them."""

    def __init__(self, run: Run, labels: Mapping[str, str]) -> None:
        self._interval = run.interval
        self._labels = dict(labels)
        self._about = {("version" if name == "heflwr" else name): value for name, value in run.versions.items()}
        self._is_sum = tuple(metric.kind is Kind.DELTA for metric in run.metrics)
        self._sums = [float("nan")] * len(run.metrics)
        self._latest = _Latest(0, float("nan"), tuple(self._sums))
        families: dict[str, list[int]] = {}
        for index, metric in enumerate(run.metrics):
            if metric.prometheus is not None:
                families.setdefault(metric.prometheus.name, []).append(index)
        self._metrics = run.metrics
        self._families = tuple(families.items())

    def take(self, sample: Sample) -> None:
        """Let scrapes see this sample from now on."""
        values = list(sample.values)
        for index, is_sum in enumerate(self._is_sum):
            if is_sum:
                values[index] = self._add(index, values[index])
        self._latest = _Latest(sample.sequence + 1, sample.time, tuple(values))

    def _add(self, index: int, value: float) -> float:
        """Return the counter's value; a power rail may read below zero at idle, but a counter must never fall."""
        before = self._latest.values[index]
        if value != value:
            return before
        if before != before:
            self._sums[index] = before = 0.0
        self._sums[index] += value
        return max(before, self._sums[index])

    def collect(self) -> Iterator[Family]:
        """Yield every family that has a value; called by prometheus_client, from any thread."""
        latest = self._latest
        yield self._family("heflwr_build", "info", "Versions of heflwr, Python and the platform.", [(self._about, 1.0)])
        yield self._family("heflwr_samples", "counter", "Samples taken since start.", [({}, latest.samples)])
        yield self._family(
            "heflwr_sample_interval_seconds", "gauge", "Time between samples, as asked for.", [({}, self._interval)]
        )
        if latest.samples:
            yield self._family(
                "heflwr_last_sample_timestamp_seconds",
                "gauge",
                "Unix time of the sample that the other metrics show.",
                [({}, latest.time)],
            )
        for name, indices in self._families:
            rows = []
            for index in indices:
                exported, value = self._metrics[index].prometheus, latest.values[index]
                if exported is not None and value == value:
                    rows.append((dict(exported.labels), value * exported.scale))
            if rows:
                metric = self._metrics[indices[0]]
                assert metric.prometheus is not None
                kind = "counter" if metric.kind is Kind.DELTA else "gauge"
                yield self._family(name, kind, metric.prometheus.help or metric.help, rows)

    def _family(self, name: str, kind: str, help: str, rows: list[tuple[dict[str, str], float]]) -> Family:
        from prometheus_client.core import Metric as Family

        unit = name.rpartition("_")[2]
        family = Family(name, help, kind, unit if unit in BASE_UNITS else "")
        for labels, value in rows:
            family.add_sample(name + _SUFFIXES.get(kind, ""), {**self._labels, **labels}, value)
        return family


_SUFFIXES = {"counter": "_total", "info": "_info"}

_Encoding = tuple[Callable[["CollectorRegistry"], bytes], str]
"""How to write a registry, and its content type."""


class _Page:
    """The metrics in the format that the client prefers."""

    def __init__(self, registry: CollectorRegistry, text: _Encoding, openmetrics: _Encoding) -> None:
        self._registry = registry
        self._text = text
        self._openmetrics = openmetrics

    def answer(self, request: Request) -> Answer:
        from heflwr.monitor.sinks._endpoint import Answer

        wanted = _weights(request.headers.get("accept", ""))
        openmetrics = wanted.get("application/openmetrics-text", 0.0)
        is_open = openmetrics > 0 and openmetrics >= wanted.get("text/plain", 0.0)
        encode, content_type = self._openmetrics if is_open else self._text
        body = encode(self._registry)
        headers = {"Vary": "Accept, Accept-Encoding"}
        if _weights(request.headers.get("accept-encoding", "")).get("gzip", 0.0) > 0:
            body = gzip.compress(body, compresslevel=1)  # a fifth of the size for 0.1 ms: uplinks are thin
            headers["Content-Encoding"] = "gzip"
        return Answer(HTTPStatus.OK, body, content_type, headers)


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


