"""What the service tells of itself: prometheus_client's metrics, in one process or, through files, in several.

prometheus_client decides at its import: with PROMETHEUS_MULTIPROC_DIR in the environment every value is in a file.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from drift import Drift
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_NEWEST: Final = "livemostrecent"
"""Of several workers' gauges the one that was set last: each worker sees a random part of the inputs."""


class Telemetry(NamedTuple):
    """Metrics of one application. Label values come from tables of ours, never from what a client sent."""

    registry: CollectorRegistry
    requests: Counter
    seconds: Histogram
    errors: Counter
    predictions: Counter
    variance: Gauge
    divergence: Gauge

    @classmethod
    def create(cls) -> Telemetry:
        """Return metrics in a registry of their own: a second application in this process is no error."""
        own = CollectorRegistry()
        seconds, variance = "Time in the view.", "Variance of the inputs' pixels, mean over the pixels."
        divergence = "KL divergence of the last inputs from the training set, mean over the pixels."
        return cls(
            own,
            Counter("ml_requests", "Requests.", ["route", "status"], registry=own),
            Histogram("ml_request_duration_seconds", seconds, ["route"], buckets=_BUCKETS, registry=own),
            Counter("ml_errors", "Requests refused or failed.", ["reason"], registry=own),
            Counter("ml_predictions", "Predictions.", ["digit"], registry=own),
            Gauge("ml_input_variance", variance, ["inputs"], registry=own, multiprocess_mode=_NEWEST),
            Gauge("ml_input_kl_nats", divergence, ["inputs"], registry=own, multiprocess_mode=_NEWEST),
        )

    def show(self, drift: Drift) -> None:
        """Set the gauges of the last inputs; there are none before."""
        self.variance.labels("recent").set(drift.variance)
        self.divergence.labels("recent").set(drift.kl_nats)

    def page(self) -> str:
        """Return all metrics in Prometheus' text format: of all workers where there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry).decode()
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)
        return generate_latest(everybody).decode()
