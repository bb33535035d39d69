"""Figures of requests as metric families of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heflwr.exposition.text import Family, Histogram, Labels
from heflwr.monitor.wsgi.figures import RequestFigures

_DISTRIBUTIONS = (
    ("seconds", "heflwr_http_request_duration_seconds", "Time from the call to the end of the answer."),
    ("cpu_seconds", "heflwr_http_request_cpu_seconds", "CPU time of the serving thread inside the application."),
    (
        "memory_rise_bytes",
        "heflwr_http_request_memory_rise_bytes",
        "Rise of resident memory, of requests that were alone in their process.",
    ),
)
"""Attribute of the figures, name and help."""


def families(figures: Sequence[RequestFigures], faults: float) -> Iterator[Family | Histogram]:
    """Yield every family that has something to tell."""
    for attribute, name, text in _DISTRIBUTIONS:
        found = [(_labels(each), getattr(each, attribute)) for each in figures]
        rows = [(labels, distribution.counts, distribution.sum) for labels, distribution in found if distribution.count]
        if rows:
            yield Histogram(name, text, found[0][1].bounds, rows)
    peaks = [(_labels(each), float(each.memory_peak_bytes)) for each in figures if each.memory_peak_bytes is not None]
    if peaks:
        text = "Highest resident memory of a process while such a request was in flight."
        yield Family("heflwr_http_request_memory_peak_bytes", "gauge", text, peaks)
    if figures:
        raised = [(_labels(each), float(each.exceptions)) for each in figures]
        yield Family("heflwr_http_request_exceptions", "counter", "Requests in which the application raised.", raised)
    text = "Failures of the measuring itself, which cost requests nothing."
    yield Family("heflwr_http_measuring_faults", "counter", text, [((), faults)])


def _labels(each: RequestFigures) -> Labels:
    return (("method", each.method), ("route", each.route), ("status", each.status))
