"""Where the server's history goes while it grows: a Protocol, and the adapter that feeds a monitor's sinks with it."""

from __future__ import annotations

import copy
import os
import time
from typing import Protocol

from heflwr.flower.cost import COLUMNS
from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History
from heflwr.monitor.sample import MISSING, Run, Sample
from heflwr.monitor.sinks import Sink


class HistorySink(Protocol):
    """Shows or keeps what the server learns. What it raises is counted in `history.faults`, and the run goes on."""

    def open(self, history: History) -> None:
        """Take handles; the run begins. What it raises here ends up with the user, before anything was sent."""

    def sent(self, kind: str, round: int, nodes: int) -> None:
        """Hear that messages went out to so many nodes."""

    def entry(self, entry: Entry) -> None:
        """Hear what became of one message."""

    def close(self) -> None:
        """Give handles back; the run is over."""


class PerNode:
    """Feeds a copy of a monitor's sink a node: each reply is a sample, each node a run with the node's name.

    So a server can forward its clients' costs to a collector that they cannot reach themselves.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._open: dict[int, tuple[Sink, float, int]] = {}  # by node: its sink, when its run began, samples so far

    def open(self, history: History) -> None:
        """Nothing yet: a node's run begins with its first reply."""

    def sent(self, kind: str, round: int, nodes: int) -> None:
        """Nothing: only what came back is a sample."""

    def entry(self, entry: Entry) -> None:
        if not entry.cost:
            return
        now = entry.received if entry.received is not None else time.time()
        if entry.node not in self._open:
            sink = copy.deepcopy(self._sink)
            sink.open(
                Run(
                    identifier=f"node {entry.name}",
                    run=os.urandom(8).hex(),
                    pid=0,
                    started=entry.sent,
                    interval=0.0,
                    metrics=COLUMNS,
                    host=entry.host,
                    sources=dict(entry.sources),
                )
            )
            self._open[entry.node] = sink, entry.sent, 0
        sink, started, sequence = self._open[entry.node]
        values = tuple(entry.cost.get(column.name, MISSING) for column in COLUMNS)
        self._open[entry.node] = sink, started, sequence + 1
        sink.write(Sample(sequence, now, max(0.0, now - started), values))

    def close(self) -> None:
        opened, self._open = self._open, {}
        for sink, _, _ in opened.values():
            sink.close()
