"""Who computed when: every message as a bar on the server's clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from heflwr.flower.entry import Entry
from heflwr.flower.history.summary import is_moment, measured


@dataclass(frozen=True, slots=True)
class Bar:
    """One message, Unix seconds by the server's clock.

    Attributes:
        entry: The message.
        sent: When it went out.
        call: When the client's call began and when it ended, both in [sent, received]; None where no report tells.
        received: When the reply was in; `sent` where none came.
    """

    entry: Entry
    sent: float
    call: tuple[float, float] | None
    received: float


def bars(entries: Iterable[Entry]) -> list[Bar]:
    """Return a bar a message, in their order; messages without a possible time of sending are left out.

    A client's clock need not agree with the server's: a call that seems to lie outside the time between sending and
    receiving is moved into it, as little as possible, and cut where it is longer.
    """
    return [_bar(entry) for entry in entries if is_moment(entry.sent)]


def spans(drawn: Iterable[Bar]) -> dict[int, tuple[float, float]]:
    """Return when each round's first message was sent and its last reply received; round 0 is none."""
    found: dict[int, tuple[float, float]] = {}
    for bar in drawn:
        if bar.entry.round > 0:
            begun, ended = found.get(bar.entry.round, (math.inf, -math.inf))
            found[bar.entry.round] = min(begun, bar.sent), max(ended, bar.received)
    return dict(sorted(found.items()))


def slowest(entries: Sequence[Entry], limit: int) -> list[int]:
    """Return the ids of the nodes with the most seconds in calls, the slowest first, at most so many."""
    seconds: dict[int, float] = {}
    for entry in entries:
        seconds[entry.node] = seconds.get(entry.node, 0.0) + (measured(entry, "seconds") or 0.0)
    return sorted(seconds, key=lambda node: -seconds[node])[:limit]


def _bar(entry: Entry) -> Bar:
    sent = entry.sent
    received = entry.received
    if received is None or not is_moment(received) or received < sent:
        received = sent
    seconds = measured(entry, "seconds")
    if entry.started is None or not math.isfinite(entry.started) or seconds is None:
        return Bar(entry, sent, None, received)
    begun = max(sent, min(entry.started, received - seconds))
    return Bar(entry, sent, (begun, min(begun + seconds, received)), received)
