"""Feeds a monitor's sink with the server's history: a copy of it a node, each reply a sample."""

from __future__ import annotations

import copy
import os
import threading
import time
from dataclasses import dataclass

from heflwr.flower.cost import COLUMNS
from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History
from heflwr.monitor.sample import MISSING, Run, Sample
from heflwr.monitor.sinks import Sink

NODES_MOST = 500
"""Nodes with a copy of the sink: each may hold a file or a thread, and a process has often no more than 1024 files."""

CLOSE_SECONDS = 1.0
"""How much longer than a sink promises close() waits for all of them together."""


@dataclass(slots=True)
class _Opened:
    """A node's own sink, when its run began, and how many samples it has had."""

    sink: Sink
    started: float
    samples: int = 0


class PerNode:
    """Gives each node a run of its own, with the node's name, in a copy of the sink; safe to use from any thread.

    So a server can forward its clients' costs to a collector that they cannot reach themselves. A node whose sink could
    not be opened, or that is one too many, is counted in `history.faults` once and left out from then on.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lock = threading.Lock()
        self._opened: dict[int, _Opened] = {}
        self._left_out: set[int] = set()
        self._is_open = False

    def open(self, history: History) -> None:
        """Begin; a node's run begins with its first reply."""
        self.close()
        with self._lock:
            self._history = history
            self._left_out = set()
            self._is_open = True

    def sent(self, kind: str, round: int, nodes: int) -> None:
        """Nothing: only what came back is a sample."""

    def entry(self, entry: Entry) -> None:
        if not entry.cost:
            return
        with self._lock:
            if not self._is_open or entry.node in self._left_out:
                return
            opened = self._opened.get(entry.node) or self._begin(entry)
            now = entry.received if entry.received is not None else time.time()
            values = tuple(entry.cost.get(column.name, MISSING) for column in COLUMNS)
            sample = Sample(opened.samples, now, max(0.0, now - opened.started), values)
            opened.samples += 1
            opened.sink.write(sample)

    def close(self) -> None:
        """Close every node's sink, all at once: a collector that is silent costs its time once, not once a node."""
        with self._lock:
            self._is_open = False
            opened, self._opened = tuple(self._opened.values()), {}
        if not opened:
            return
        seconds = max(getattr(one.sink, "flush_seconds", 0.0) for one in opened) + CLOSE_SECONDS
        deadline = time.monotonic() + seconds
        threads = []
        for one in opened:
            thread = threading.Thread(target=self._close, args=(one.sink,), name="heflwr-close", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left
                self._close(one.sink)
            else:
                threads.append(thread)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if late := sum(thread.is_alive() for thread in threads):
            self._history.fault("PerNode", f"{late} of {len(opened)} sinks were not closed within {seconds:g} s")

    def _begin(self, entry: Entry) -> _Opened:
        """Open a node's sink; called with the lock."""
        self._left_out.add(entry.node)  # until it is open: what failed once is not tried at each reply
        if len(self._opened) >= NODES_MOST:
            raise ValueError(
                f"node {entry.name} is left out: {NODES_MOST} nodes have a {type(self._sink).__name__} already"
            )
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
        self._left_out.discard(entry.node)
        self._opened[entry.node] = opened = _Opened(sink, entry.sent)
        return opened

    def _close(self, sink: Sink) -> None:
        try:
            sink.close()
        except Exception as error:  # the other nodes' are closed all the same
            self._history.fault("PerNode", error)
