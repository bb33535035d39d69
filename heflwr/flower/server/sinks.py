"""Where the server's history goes while it grows: a Protocol, and how a monitor's sinks become one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History
from heflwr.flower.server.per_node import PerNode
from heflwr.monitor.sinks import Sink
from heflwr.monitor.sinks.prometheus import PrometheusSink


class HistorySink(Protocol):
    """Shows or keeps what the server learns. What it raises is counted in `history.faults`, and the run goes on.

    One that has a method `watch(fleet)` is given the `Fleet`, where functions are watched, after `open`.
    """

    def open(self, history: History) -> None:
        """Take handles; the run begins. What it raises here ends up with the user, before anything was sent."""

    def sent(self, kind: str, round: int, nodes: int) -> None:
        """Hear that messages of one kind and round went out to so many nodes."""

    def entry(self, entry: Entry) -> None:
        """Hear what became of one message."""

    def close(self) -> None:
        """Give handles back; the run is over."""


def listed(sinks: Iterable[Sink | HistorySink]) -> tuple[Sink | HistorySink, ...]:
    """Return the sinks of a list. Raises TypeError for what is none, such as one sink alone."""
    if isinstance(sinks, str) or not isinstance(sinks, Iterable):
        raise TypeError(f"sinks must be a list of sinks, got {sinks!r} ({type(sinks).__name__})")
    return tuple(sinks)


def as_history_sinks(sinks: Iterable[Sink | HistorySink]) -> list[HistorySink]:
    """Return sinks that take entries. Raises TypeError for what is no sink, or none that every node can have."""
    found: list[HistorySink] = []
    for place, sink in enumerate(listed(sinks)):
        if isinstance(sink, type):
            raise TypeError(f"sinks[{place}] is a class, not a sink made of it; write {sink.__name__}(...)")
        if isinstance(sink, PrometheusSink):
            raise TypeError(
                f"sinks[{place}] is a PrometheusSink, of which every node would need one with a port of its own; "
                "heflwr.flower.Gauges(port) serves all nodes under one"
            )
        if all(hasattr(sink, part) for part in ("open", "sent", "entry", "close")):
            found.append(sink)  # type: ignore[arg-type]
        elif all(hasattr(sink, part) for part in ("open", "write", "close", "facts")):
            found.append(PerNode(sink))  # type: ignore[arg-type]
        else:
            raise TypeError(f"sinks[{place}] is no sink: {sink!r} (see heflwr.flower.server.sinks)")
    return found
