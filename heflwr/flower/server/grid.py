"""The server's side: a Grid that notes what every message cost and takes the reports off the replies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp

from heflwr.flower import records
from heflwr.flower.cost import Report
from heflwr.flower.entry import ERROR, LOST, OK, Entry
from heflwr.flower.history.ledger import History, Overhead
from heflwr.flower.server.sinks import HistorySink, PerNode
from heflwr.monitor import Monitor
from heflwr.monitor.sinks import Sink

ROUND_KEYS = ("server-round", "server_round", "round", "current_round")
"""Where strategies and users put the round into a message's configuration; the first is Flower's own."""

OWN_INTERVAL_SECONDS = 1.0
"""Between samples of the server's own process and its children."""

PULL_SECONDS = 3.0
"""Between two looks for replies, as Flower's own grids have it where they do not say."""

LEGACY_METRICS = ("fitres.metrics", "evaluateres.metrics")
"""ConfigRecords in which Flower carries the metrics of a NumPyClient."""

WORKERS_SHARE = {
    "cpu_seconds": "clients_cpu_seconds",
    "startup_cpu_seconds": "startup_cpu_seconds",
    "idle_cpu_seconds": "idle_cpu_seconds",
}
"""What clients in a simulation's workers report of themselves, and what it is called as a share of the whole run."""

ERROR_LENGTH = 300
"""How much of a client's error an entry keeps."""


@dataclass(slots=True)
class _Sent:
    """A message on its way."""

    metadata: Any  # Flower writes the message's id into it when it is pushed
    round: int
    time: float
    bytes: int


class MonitoredGrid(Grid):
    """A Grid that does what `grid` does, and keeps a `History` of what every message cost.

    Replies come out of it as the clients' code made them: the report is taken off before a strategy sees it. The round
    is what the message's configuration says, else Flower's group id, else how often messages of that type were sent.

    Attributes:
        history: What became of every message.
    """

    def __init__(self, grid: Grid, *, sinks: Iterable[Sink | HistorySink] = (), history: History | None = None) -> None:
        """Wrap a grid.

        Args:
            grid: The one that a ServerApp's main function gets.
            sinks: Where the history goes while it grows: `HistoryFile`, `Console`, `Gauges` of this package, or any
                sink of a monitor (each node is a run of its own there, each reply a sample).
            history: Goes on with this one; default a new one.

        Raises:
            TypeError: A sink that is none.
            MonitorError, OSError: A sink that cannot be opened.
        """
        self.history = history if history is not None else History()
        self._grid = grid
        self._lock = threading.Lock()
        self._on_the_way: dict[str, _Sent] = {}
        self._batches: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._is_flowers_own = type(grid).send_and_receive.__module__.startswith("flwr.")
        self._is_closed = False
        self._begun = time.monotonic()
        self._in_workers = dict.fromkeys(WORKERS_SHARE.values(), 0.0)
        self._sinks: list[HistorySink] = []
        try:
            for sink in as_history_sinks(sinks):
                sink.open(self.history)
                self._sinks.append(sink)
        except BaseException:
            self.close()
            raise
        self._monitor = Monitor(runner="thread", interval=OWN_INTERVAL_SECONDS)
        self._monitor.set_metrics(network=False)
        self._try("the server's own cost", self._monitor.start)

    def set_run(self, *args: Any, **kwargs: Any) -> None:
        self._grid.set_run(*args, **kwargs)

    @property
    def run(self) -> Any:
        """Run information, as the grid gives it."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def get_nodes(self) -> Any:
        """Return the nodes, as the grid gives them."""
        return self._grid.get_nodes()

    def __getattr__(self, name: str) -> Any:
        """Return what only the grid itself has."""
        if name == "_grid":  # not there yet
            raise AttributeError(name)
        return getattr(self._grid, name)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        batch: list[_Sent] = []
        ids = list(self._grid.push_messages(self._noting(messages, batch)))
        with self._lock:
            self._on_the_way |= {sent.metadata.message_id: sent for sent in batch}
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            with self._lock:
                sent = self._on_the_way.pop(reply.metadata.reply_to_message_id, None)
            self._receive(reply, sent)
        if replies:
            self._look_at_own_cost()
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        if not self._is_flowers_own:  # who knows what another one does; its replies come all at once
            batch: list[_Sent] = []
            replies = list(self._grid.send_and_receive(self._noting(messages, batch), timeout=timeout))
            waiting = {sent.metadata.message_id: sent for sent in batch}
            for reply in replies:
                self._receive(reply, waiting.pop(reply.metadata.reply_to_message_id, None))
        else:  # what Flower documents of it: push, then pull until all are there or the time is up
            begun = time.monotonic()
            ids = {sent_id for sent_id in self.push_messages(messages) if sent_id}
            del messages
            replies = []
            while ids and (timeout is None or time.monotonic() < begun + timeout):
                found = list(self.pull_messages(ids))
                replies += found
                ids -= {reply.metadata.reply_to_message_id for reply in found}
                if ids:
                    time.sleep(getattr(self._grid, "pull_interval", PULL_SECONDS))
            with self._lock:
                waiting = {one: self._on_the_way.pop(one) for one in ids if one in self._on_the_way}
        for sent in waiting.values():
            self._lose(sent)
        self._look_at_own_cost()
        return replies

    def close(self) -> None:
        """The run is over: messages without a reply are lost, sinks are closed. Does nothing the second time."""
        if self._is_closed:
            return
        self._is_closed = True
        for sent in self._on_the_way.values():
            self._lose(sent)
        self._on_the_way.clear()
        if hasattr(self, "_monitor"):
            self._try("the server's own cost", self._monitor.stop)
            self._look_at_own_cost()
        for sink in self._sinks:
            self._try(type(sink).__name__, sink.close)

    def __enter__(self) -> MonitoredGrid:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _try(self, part: str, action: Any, *arguments: Any) -> Any:
        """Do what must not cost the run anything when it fails."""
        try:
            return action(*arguments)
        except Exception as error:
            self.history.fault(part, error)
            return None

    def _noting(self, messages: Iterable[Message], batch: list[_Sent]) -> list[Message]:
        """Note messages that are about to go out, and return them; Flower's own grid goes over them twice."""
        now = time.time()
        rounds: dict[str, int] = {}
        noted = list(messages)
        for message in noted:
            self._try("sending", self._note, message, now, rounds, batch)
        for kind, round_number in rounds.items():
            nodes = sum(sent.metadata.message_type == kind for sent in batch)
            for sink in self._sinks:
                self._try(type(sink).__name__, sink.sent, kind, round_number, nodes)
        return noted

    def _note(self, message: Message, now: float, rounds: dict[str, int], batch: list[_Sent]) -> None:
        metadata = message.metadata
        kind = metadata.message_type
        if kind not in rounds:
            with self._lock:
                self._batches[kind] = self._batches.get(kind, 0) + 1
                rounds[kind] = _round_of(message) or self._batches[kind]
        batch.append(_Sent(metadata, _round_of(message) or rounds[kind], now, sum(records.sizes(message.content))))

    def _receive(self, reply: Message, sent: _Sent | None) -> None:
        """Take the report off, whatever it is worth, and note what it says."""
        report, wrong = None, ""
        try:
            record = records.detach(reply)
            report = None if record is None else records.decode(record)
        except Exception as error:
            self.history.fault("report", error)
            wrong = f"report: {error}"
        self._try("history", self._add, reply, sent, report, wrong)

    def _add(self, reply: Message, sent: _Sent | None, report: Report | None, wrong: str) -> None:
        node = reply.metadata.src_node_id
        if report is not None and report.name:
            self._names[node] = report.name
        is_error = reply.has_error()
        now = time.time()
        self._tell(
            Entry(
                node=node,
                name=self._names.get(node, str(node)),
                round=sent.round if sent else 0,
                kind=reply.metadata.message_type,
                sent=sent.time if sent else now,
                received=now,
                status=ERROR if is_error else OK,
                error=str(reply.error.reason or reply.error.code)[:ERROR_LENGTH] if is_error else "",
                bytes_sent=sent.bytes if sent else 0,
                bytes_received=0 if is_error else sum(records.sizes(reply.content)),
                started=report.started if report else None,
                cost=report.cost if report else {},
                metrics={} if is_error else _metrics(reply.content),
                host=report.host if report else "",
                in_simulation=bool(report and report.in_simulation),
                sources=report.sources if report else {},
                notes=report.notes if report else (wrong,) if wrong else (),
            )
        )

    def _lose(self, sent: _Sent) -> None:
        node, kind = sent.metadata.dst_node_id, sent.metadata.message_type
        name = self._names.get(node, str(node))
        self._tell(Entry(node, name, sent.round, kind, sent.time, status=LOST, bytes_sent=sent.bytes))

    def _tell(self, entry: Entry) -> None:
        self.history.add(entry)
        if entry.in_simulation:
            with self._lock:
                for column, share in WORKERS_SHARE.items():
                    self._in_workers[share] += entry.cost.get(column, 0.0)
        for sink in self._sinks:
            self._try(type(sink).__name__, sink.entry, entry)

    def _look_at_own_cost(self) -> None:
        self._try("the server's own cost", self._update_overhead)

    def _update_overhead(self) -> None:
        seen = self._monitor.describe()
        if "cpu_seconds" in seen:
            self.history.overhead = Overhead(
                seconds=time.monotonic() - self._begun, cpu_seconds=seen["cpu_seconds"].total, **self._in_workers
            )


class MonitoredServer(ServerApp):
    """A ServerApp that does what `app` does, on a `MonitoredGrid`.

    Attributes:
        app: The wrapped one.
        history: What the last run cost; it grows while the run goes on.
    """

    def __init__(self, app: ServerApp, *, sinks: Iterable[Sink | HistorySink] = ()) -> None:
        super().__init__()
        self.app = app
        self.history = History()
        self._sinks = tuple(sinks)
        as_history_sinks(self._sinks)  # wrong ones are told at the door

    def __call__(self, grid: Grid, context: Context) -> None:
        """Run the app."""
        if self.history.entries:
            self.history = History()
        with MonitoredGrid(grid, sinks=self._sinks, history=self.history) as monitored:
            self.app(monitored, context)

    def main(self) -> Any:
        """Register the main function with the app itself."""
        return self.app.main()

    def lifespan(self) -> Any:
        """Register a function with the app itself."""
        return self.app.lifespan()


def as_history_sinks(sinks: Iterable[Sink | HistorySink]) -> list[HistorySink]:
    """Return sinks that take entries. Raises TypeError for what is no sink."""
    found: list[HistorySink] = []
    for place, sink in enumerate(sinks):
        if all(hasattr(sink, part) for part in ("open", "sent", "entry", "close")):
            found.append(sink)  # type: ignore[arg-type]
        elif all(hasattr(sink, part) for part in ("open", "write", "close", "facts")):
            found.append(PerNode(sink))  # type: ignore[arg-type]
        else:
            raise TypeError(f"sinks[{place}] is no sink: {sink!r} (see heflwr.flower.server.sinks)")
    return found


def _round_of(message: Message) -> int:
    """Return the round that a message says it belongs to, 0 where it does not say."""
    for record in message.content.values():
        if isinstance(record, ConfigRecord):
            for key in ROUND_KEYS:
                value = record.get(key)
                if type(value) is int and value > 0:
                    return value
    group = message.metadata.group_id
    return int(group) if group.isdecimal() else 0


def _metrics(content: RecordDict) -> dict[str, float]:
    """Return the numbers of a reply's metrics, lists left out; where a name comes twice, with its record's name."""
    found: dict[str, float] = {}
    for place, record in content.items():
        if isinstance(record, MetricRecord) or place in LEGACY_METRICS:
            for name, value in record.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    found[name if name not in found else f"{place}.{name}"] = float(value)
    return found
