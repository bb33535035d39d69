"""One message to one node and what came of it: a line of the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heflwr.flower.cost import NAMES

OK = "ok"
ERROR = "error"
LOST = "lost"
"""What became of a message: a reply came, an error came, nothing came in time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to one node.

    Attributes:
        node: Flower's node id.
        name: What to call the node: its partition where it has one, else the node id.
        round: 1, 2, ...; 0 where the server did not say (see `MonitoredGrid`).
        kind: Message type: "train", "evaluate", "query", or with an action, "train.warm_up".
        sent: Unix time at which the server handed the message over, by the server's clock, seconds.
        received: Likewise when it had the reply, as if nobody had set that clock meanwhile; None while there is none.
        status: OK, ERROR or LOST.
        error: Flower's reason where the status is ERROR.
        bytes_sent: Records of the message, as the server sent them.
        bytes_received: Records of the reply, the report left out.
        started: Unix time at which the call began by the client's clock; None without a report, or where that clock
            was never set.
        cost: What the client measured, by the names of `cost.COLUMNS`; empty when it sent no report.
        metrics: Numbers of the reply's MetricRecords by name, lists left out; the first 200.
        host: The client's machine, where it told.
        in_simulation: The call ran in a worker of Flower's simulation, on the server's own machine.
        sources: Where the client's numbers come from, by group.
        notes: What the client could not measure, or what was wrong with its report.
    """

    node: int
    name: str
    round: int
    kind: str
    sent: float
    received: float | None = None
    status: str = OK
    error: str = ""
    bytes_sent: int = 0
    bytes_received: int = 0
    started: float | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    host: str = ""
    in_simulation: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def queue_seconds(self) -> float | None:
        """Time from the server's hand to the client's, where both share a clock (simulation); else None."""
        return max(0.0, self.started - self.sent) if self.in_simulation and self.started is not None else None

    @property
    def round_trip_seconds(self) -> float | None:
        """Time from sending to the reply, >= 0, by a clock of the server's that nobody sets."""
        return None if self.received is None else self.received - self.sent

    def record(self) -> dict[str, Any]:
        """Return the entry as a flat mapping: its own fields, every column of the cost, metrics as `metric.NAME`."""
        row: dict[str, Any] = {
            "node": self.node,
            "name": self.name,
            "round": self.round,
            "kind": self.kind,
            "status": self.status,
            "error": self.error,
            "sent": self.sent,
            "received": self.received,
            "started": self.started,
            "queue_seconds": self.queue_seconds,
            "round_trip_seconds": self.round_trip_seconds,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "host": self.host,
            "in_simulation": self.in_simulation,
        }
        row |= {name: self.cost.get(name) for name in NAMES}
        row |= {f"metric.{name}": value for name, value in self.metrics.items()}
        row |= {"sources": dict(self.sources), "notes": list(self.notes)}
        return row
