"""The books of a run: what is on its way, what came of it, and what the server itself used.

They are apart from the grid that fills them, so that they can be closed when nobody holds the grid any more: an app
may forget to close it, or end by an exception.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import platform
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from flwr.app import Message

from heflwr.flower import records
from heflwr.flower.cost import Report
from heflwr.flower.entry import ERROR, LOST, OK, Entry
from heflwr.flower.history.ledger import History, Overhead
from heflwr.flower.server.messages import metrics_of
from heflwr.flower.server.sinks import HistorySink
from heflwr.monitor import Monitor

OWN_INTERVAL_SECONDS = 1.0
"""Between samples of the server's own process and its children."""

WORKERS_SHARE = {
    "cpu_seconds": "clients_cpu_seconds",
    "startup_cpu_seconds": "startup_cpu_seconds",
    "idle_cpu_seconds": "idle_cpu_seconds",
}
"""What clients in a simulation's workers report of themselves, and what it is called as a share of the whole run."""

ERROR_LENGTH = 300
ERROR_BEGIN = 80
"""How much of a client's error an entry keeps, and how much of that is its beginning: Ray sends a whole traceback, and
what happened is in its last line."""


@dataclass(slots=True)
class Sent:
    """A message that was handed over.

    Attributes:
        metadata: Flower's; it writes the message's id into it when the message is pushed.
        round: 1, 2, ...
        time: Unix time, seconds.
        clock: The same moment by the monotonic clock, which nobody sets.
        expires: When, by the monotonic clock, Flower will have thrown the message and its reply away.
        bytes: Of its records.
        is_over: It was answered or given up.
    """

    metadata: Any
    round: int
    time: float
    clock: float
    expires: float
    bytes: int
    is_over: bool = False


class Books:
    """Notes messages and replies in a history and tells its sinks; safe to use from any thread.

    Open from the beginning until close(), which the interpreter's exit calls where nobody did.
    """

    def __init__(self, history: History, sinks: Iterable[HistorySink]) -> None:
        """Open the sinks, and begin to measure this process.

        Raises:
            MonitorError, OSError: A sink that cannot be opened; those before it are closed again.
        """
        self._history = history
        self._lock = threading.Lock()
        self._closing = threading.RLock()
        self._is_closed = False
        self._pid = os.getpid()
        self._on_the_way: dict[str, Sent] = {}
        self._batches: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._here = records.name(platform.node())
        self._begun = time.monotonic()
        self._in_workers = dict.fromkeys(WORKERS_SHARE.values(), 0.0)
        self._sinks: list[HistorySink] = []
        self._monitor: Monitor | None = None
        try:
            for sink in sinks:
                sink.open(history)
                self._sinks.append(sink)
        except BaseException:
            self.close()
            raise
        monitor = Monitor(runner="thread", interval=OWN_INTERVAL_SECONDS)
        monitor.set_metrics(network=False)
        self._monitor = monitor
        self._try("the server's own cost", monitor.start)
        _keep(self)

    def send(self, messages: Sequence[Message]) -> list[Sent]:
        """Note messages that are about to go out."""
        batch: list[Sent] = []
        unnumbered: dict[str, int] = {}
        for message in messages:
            self._try("sending", self._note, message, unnumbered, batch)
        counts: dict[tuple[str, int], int] = {}
        for sent in batch:
            together = sent.metadata.message_type, sent.round
            counts[together] = counts.get(together, 0) + 1
        for (kind, number), nodes in counts.items():
            for sink in self._sinks:
                self._try(type(sink).__name__, sink.sent, kind, number, nodes)
        return batch

    def gone(self, batch: Iterable[Sent]) -> None:
        """The messages are out, and have their ids."""
        self._try("sending", self._wait_for, batch)

    def take(self, reply: Message) -> None:
        """Take the report off a reply, whatever it is worth, and note what it says."""
        with self._lock:
            sent = self._on_the_way.pop(reply.metadata.reply_to_message_id, None)
            if sent is not None:
                sent.is_over = True
        report, wrong = None, ""
        try:
            record = records.detach(reply)
            if record is not None:
                report = _taken[reply] = records.decode(record)
            else:
                report = _taken.get(reply)
        except Exception as error:
            self._history.fault("report", error)
            wrong = f"report: {error}"
        self._try("history", self._add, reply, sent, report, wrong)

    def lose(self, batch: Iterable[Sent]) -> None:
        """Nobody waits any longer for those of the messages that are not answered."""
        for sent in batch:
            with self._lock:
                was_over, sent.is_over = sent.is_over, True
                if self._on_the_way.get(sent.metadata.message_id) is sent:
                    del self._on_the_way[sent.metadata.message_id]
            if not was_over:
                self._try("history", self._add_lost, sent)

    def expire(self, clock: float) -> None:
        """What Flower has thrown away by now will never be pulled, and is lost.

        Args:
            clock: Now, by the monotonic clock, or a little before.
        """
        with self._lock:
            expired = [sent for sent in self._on_the_way.values() if sent.expires < clock]
        self.lose(expired)

    def look_at_own_cost(self) -> None:
        """Note what this process and its children have used so far."""
        self._try("the server's own cost", self._update_overhead)

    def close(self) -> None:
        """Close the books: messages without a reply are lost, sinks are closed. Does nothing the second time."""
        with self._closing:  # who comes second waits until all is written
            if self._is_closed:
                return
            self._is_closed = True
            self.lose(tuple(self._on_the_way.values()))
            if self._monitor is not None:
                self._try("the server's own cost", self._monitor.stop)
                self.look_at_own_cost()
            for sink in self._sinks:
                self._try(type(sink).__name__, sink.close)
            _open.discard(self)

    def close_soon(self) -> None:
        """Close them in a thread of their own, from wherever the garbage collector may be just now.

        It runs in the midst of other code, which may hold any lock, those of the threading module included; the bare
        function below takes none, and another thread may wait for them.
        """
        if self.is_of_this_process:
            with contextlib.suppress(RuntimeError):  # no thread any more, or none left: then the exit closes them
                _thread.start_new_thread(self._close_in_thread, ())

    @property
    def is_of_this_process(self) -> bool:
        """False in a forked child: there is nothing of its own in them."""
        return self._pid == os.getpid()

    def _close_in_thread(self) -> None:  # a bare thread that asks who it is would be known forever
        threading.Thread(target=self.close, name="heflwr-close", daemon=True).start()

    def _try(self, part: str, action: Any, *arguments: Any) -> None:
        """Do what must not cost the run anything when it fails."""
        try:
            action(*arguments)
        except Exception as error:
            self._history.fault(part, error)

    def _note(self, message: Message, unnumbered: dict[str, int], batch: list[Sent]) -> None:
        metadata = message.metadata
        kind = metadata.message_type
        if kind not in unnumbered:
            with self._lock:
                self._batches[kind] = unnumbered[kind] = self._batches.get(kind, 0) + 1
        clock = time.monotonic()
        batch.append(
            Sent(
                metadata=metadata,
                round=records.round_of(message) or unnumbered[kind],
                time=time.time(),
                clock=clock,
                expires=clock + metadata.ttl,
                bytes=sum(records.sizes(message.content)),
            )
        )

    def _wait_for(self, batch: Iterable[Sent]) -> None:
        waiting = {sent.metadata.message_id: sent for sent in batch}
        with self._lock:
            self._on_the_way |= waiting

    def _add(self, reply: Message, sent: Sent | None, report: Report | None, wrong: str) -> None:
        # an error that Flower itself makes comes from the server's own node and has a type of its own
        node = sent.metadata.dst_node_id if sent else reply.metadata.src_node_id
        if report is not None and report.name:
            self._names[node] = report.name
        is_error = reply.has_error()
        metrics, left_out = ({}, ()) if is_error else metrics_of(reply.content)
        told = report.notes if report else (wrong,) if wrong else ()
        now = time.time()
        self._tell(
            Entry(
                node=node,
                name=self._names.get(node, str(node)),
                round=sent.round if sent else 0,
                kind=sent.metadata.message_type if sent else reply.metadata.message_type,
                sent=sent.time if sent else now,
                received=sent.time + (time.monotonic() - sent.clock) if sent else now,
                status=ERROR if is_error else OK,
                error=_shortened(str(reply.error.reason or reply.error.code)) if is_error else "",
                bytes_sent=sent.bytes if sent else 0,
                bytes_received=0 if is_error else sum(records.sizes(reply.content)),
                started=(report.started or None) if report else None,
                cost=report.cost if report else {},
                metrics=metrics,
                host=report.host if report else "",
                in_simulation=bool(report and report.in_simulation and report.host == self._here),
                sources=report.sources if report else {},
                notes=(*told, *left_out),
            )
        )

    def _add_lost(self, sent: Sent) -> None:
        node, kind = sent.metadata.dst_node_id, sent.metadata.message_type
        name = self._names.get(node, str(node))
        self._tell(Entry(node, name, sent.round, kind, sent.time, status=LOST, bytes_sent=sent.bytes))

    def _tell(self, entry: Entry) -> None:
        self._history.add(entry)
        if entry.in_simulation:
            with self._lock:
                for column, share in WORKERS_SHARE.items():
                    self._in_workers[share] += entry.cost.get(column, 0.0)
        for sink in self._sinks:
            self._try(type(sink).__name__, sink.entry, entry)

    def _update_overhead(self) -> None:
        seen = self._monitor.describe() if self._monitor is not None else {}
        if "cpu_seconds" in seen:
            self._history.overhead = Overhead(
                seconds=time.monotonic() - self._begun, cpu_seconds=seen["cpu_seconds"].total, **self._in_workers
            )


def _shortened(error: str) -> str:
    gap = " ... "
    if len(error) <= ERROR_LENGTH:
        return error
    return error[:ERROR_BEGIN] + gap + error[len(error) - (ERROR_LENGTH - ERROR_BEGIN - len(gap)) :]


_taken: WeakKeyDictionary[Message, Report] = WeakKeyDictionary()
"""What came off replies that somebody still holds: a grid around a monitored grid has its books, too."""

_open: set[Books] = set()
"""Books that nobody has closed yet; the exit of the interpreter does."""

_is_set_up = False


def _keep(books: Books) -> None:
    global _is_set_up
    if not _is_set_up:
        _is_set_up = True
        atexit.register(_close_all)
    _open.add(books)


def _close_all() -> None:
    for books in tuple(_open):
        if books.is_of_this_process:
            books.close()
