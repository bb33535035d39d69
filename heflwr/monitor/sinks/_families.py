"""A run as metric families of Prometheus: the latest sample, and running sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from heflwr.exposition.endpoint import Answer, Request
from heflwr.exposition.text import Family, format_for, render
from heflwr.monitor.metrics import Kind, Metric, Prometheus
from heflwr.monitor.sample import MISSING, Run, Sample
from heflwr.monitor.sinks._running_sums import RunningSums

_ABOUT = {"version": "heflwr", "python": "python", "platform": "platform"}
"""Labels of heflwr_build_info, and where a run's versions hold them."""

_LIMITS = {
    "cpu_cores": ("heflwr_cpu_limit_cores", "CPU that the container allows the process."),
    "memory_bytes": ("heflwr_memory_limit_bytes", "Memory that the container allows the process."),
}
"""Names and help of a run's limits; most runs have none."""


class _Latest(NamedTuple):
    """What a scrape sees, replaced as one."""

    samples: int
    time: float
    values: tuple[float, ...]


class RunFamilies:
    """Takes samples from the sampling loop and answers scrapes from any thread, each with one whole sample."""

    def __init__(self, run: Run, labels: Mapping[str, str]) -> None:
        """Begin a run: all sums are zero.

        Args:
            run: The run that samples belong to.
            labels: Constant labels on every metric.
        """
        self._run = run
        self._labels = dict(labels)
        self._sums = RunningSums(run.metrics)
        self._latest = _Latest(0, MISSING, (MISSING,) * len(run.metrics))
        self._families: dict[str, list[tuple[int, Metric, Prometheus]]] = {}
        for index, metric in enumerate(run.metrics):
            if metric.prometheus is not None:
                self._families.setdefault(metric.prometheus.name, []).append((index, metric, metric.prometheus))

    def take(self, sample: Sample) -> None:
        """Let scrapes see this sample from now on."""
        self._latest = _Latest(sample.sequence + 1, sample.time, self._sums.take(sample.values))

    def _collect(self) -> Iterator[Family]:
        """Yield every family that has a value."""
        latest = self._latest
        about = {label: self._run.versions.get(name, "") for label, name in _ABOUT.items()}
        yield self._family("heflwr_build", "info", "Versions of heflwr, Python and the platform.", (about, 1.0))
        yield self._family("heflwr_samples", "counter", "Samples taken since start.", ({}, latest.samples))
        yield self._family(
            "heflwr_sample_interval_seconds", "gauge", "Time between samples, as asked for.", ({}, self._run.interval)
        )
        for limit, (name, meaning) in _LIMITS.items():
            if limit in self._run.limits:
                yield self._family(name, "gauge", meaning, ({}, self._run.limits[limit]))
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
        return Family(name, kind, help, [(tuple({**self._labels, **labels}.items()), value) for labels, value in rows])

    def answer(self, request: Request) -> Answer:
        """Return the metrics in the format that the client prefers."""
        return render(self._collect(), format_for(request))
