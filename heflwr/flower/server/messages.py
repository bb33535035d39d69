"""What a message says of itself, wherever strategies and apps put it: its round, and the numbers of its metrics."""

from __future__ import annotations

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

ROUND_KEYS = ("server-round", "server_round", "round", "current_round")
"""Where strategies and users put the round into a message's configuration; the first is Flower's own."""

LEGACY_METRICS = ("fitres.metrics", "evaluateres.metrics")
"""ConfigRecords in which Flower carries the metrics of a NumPyClient."""

METRICS_MOST = 200
"""Of one reply in the history: clients choose the names, every one is kept, and there must be an end."""


def round_of(message: Message) -> int:
    """Return the round that a message says it belongs to, 0 where it does not say."""
    for record in message.content.values():
        if isinstance(record, ConfigRecord):
            for key in ROUND_KEYS:
                value = record.get(key)
                if type(value) is int and value > 0:
                    return value
    group = message.metadata.group_id
    return int(group) if group.isdecimal() else 0


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
