"""The numbers of a reply's metrics, wherever strategies and apps put them."""

from __future__ import annotations

from flwr.app import MetricRecord, RecordDict

LEGACY_METRICS = ("fitres.metrics", "evaluateres.metrics")
"""ConfigRecords in which Flower carries the metrics of a NumPyClient."""

METRICS_MOST = 200
"""Of one reply in the history: clients choose the names, every one is kept, and there must be an end."""


def metrics_of(content: RecordDict) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the numbers of a reply's metrics, lists left out, and notes on those that had to be left out as well.

    Where a name comes twice, it comes with its record's name the second time.
    """
    found: dict[str, float] = {}
    too_many = too_large = 0
    for place, record in content.items():
        if isinstance(record, MetricRecord) or place in LEGACY_METRICS:
            for name, value in record.items():
                if not isinstance(value, (int, float)) or isinstance(value, bool):
                    continue
                if len(found) >= METRICS_MOST:
                    too_many += 1
                    continue
                try:
                    found[name if name not in found else f"{place}.{name}"] = float(value)
                except OverflowError:  # whole numbers have no largest
                    too_large += 1
    notes = [f"metrics: {too_many} left out, more than {METRICS_MOST}"] if too_many else []
    notes += [f"metrics: {too_large} left out, too large for a float"] if too_large else []
    return found, tuple(notes)
