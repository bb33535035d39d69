"""What the collector tells of itself, in a registry of its own."""

from __future__ import annotations

import contextlib
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from heflwr.collector.events import Hub
from heflwr.collector.fleet import Fleet
from heflwr.collector.pace import Pace
from heflwr.collector.store import Store, StoreFailed

_LAG_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 600, 3600, 86400)


class Counters:
    """Counters of one app; any thread may count."""

    def __init__(self, store: Store, hub: Hub, fleet: Fleet, pace: Pace) -> None:
        self.registry = CollectorRegistry()
        self.accepted = self._counter("samples_accepted", "Samples stored.")
        self.duplicates = self._counter("samples_duplicate", "Samples that were stored already.")
        self.lines = self._counter("lines_accepted", "Log lines stored.")
        self.refused = Counter(
            "heflwr_collector_requests_refused", "Requests refused, by reason.", ["reason"], registry=self.registry
        )
        self.lag = Histogram(
            "heflwr_collector_lag_seconds",
            "Age of a batch's newest sample when it was stored, by the sender's clock.",
            buckets=_LAG_SECONDS,
            registry=self.registry,
        )
        self._gauge("store_bytes", "Size of the database on disk.").set_function(store.size_bytes)
        self._gauge("listeners", "Pages that hear events.").set_function(lambda: hub.listeners)
        self._gauge("pace_seconds", "Seconds for which a sender is asked to gather samples.").set_function(
            lambda: pace.seconds
        )
        self.registry.register(_Writes(store))
        self.registry.register(_Clients(fleet))

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(f"heflwr_collector_{name}", help, registry=self.registry)

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(f"heflwr_collector_{name}", help, registry=self.registry)


class _Writes:
    """Reads the writer's own counts when it is asked."""

    def __init__(self, store: Store) -> None:
        self._writer = store.writer

    def collect(self) -> list[Metric]:
        prefix, writer = "heflwr_collector", self._writer
        return [
            CounterMetricFamily(f"{prefix}_commits", "Transactions synced to disk.", value=writer.commits),
            CounterMetricFamily(
                f"{prefix}_commit_seconds",
                "Time that transactions took, the sync included.",
                value=writer.commit_seconds,
            ),
        ]


class _Clients:
    """Counts the clients when it is asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily("heflwr_collector_clients", "Clients, by health.", labels=["health"])
        with contextlib.suppress(StoreFailed):  # what cannot be told now is left out
            for health, count in self._fleet.counts(time.time()).items():
                family.add_metric([health], count)
        return [family]
