"""A Grid that notes what every message cost and takes the reports off the replies."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flwr.app import Message
from flwr.serverapp import Grid

from heflwr.flower.history.ledger import History
from heflwr.flower.server.books import Books, Sent
from heflwr.flower.server.sinks import HistorySink, as_history_sinks
from heflwr.monitor.sinks import Sink

if TYPE_CHECKING:
    from heflwr.automon.fleet import Measure
    from heflwr.flower.watch.bridge import Bridge
    from heflwr.flower.watch.fleet import Fleet
    from heflwr.flower.watch.pending import Asked

PULL_SECONDS = 3.0
"""Between two looks for replies, as Flower's own grids have it where they do not say."""


class MonitoredGrid(Grid):
    """A Grid that does what `grid` does, and keeps a `History` of what every message cost.

    Replies come out of it as the clients' code made them: the report is taken off before a strategy sees it. Around a
    grid that is monitored already, for a part of a run say, it has the costs of that part as well. The round
    is what the message's configuration says, else Flower's group id, else how often messages of that type were sent.
    Close it, or use it in a `with` block; one that nobody holds any more is closed a moment later, and all are at the
    interpreter's exit.

    Attributes:
        history: What became of every message.
        fleet: What is known of the watched functions; None where nothing is watched.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        sinks: Iterable[Sink | HistorySink] = (),
        history: History | None = None,
        watch: Iterable[Measure] | Fleet = (),
    ) -> None:
        """Wrap a grid.

        Args:
            grid: The one that a ServerApp's main function gets.
            sinks: Where the history goes while it grows: `HistoryFile`, `Console`, `Gauges` of this package, or any
                sink of a monitor but `PrometheusSink` (each node is a run of its own there, each reply a sample).
            history: Goes on with this one; default a new one.
            watch: Functions of the fleet to watch, measures of `heflwr.automon.fleet`, or a `Fleet` made of them; the
                clients have the same list.

        Raises:
            TypeError: No grid, or a sink or a measure that is none.
            ValueError: A list of measures that cannot be watched.
            MonitorError, OSError: A sink that cannot be opened.
        """
        checked = as_history_sinks(sinks)
        if not callable(getattr(type(grid), "send_and_receive", None)):
            raise TypeError(f"MonitoredGrid wraps the grid that a ServerApp's main gets, got {grid!r}")
        self.history = history if history is not None else History()
        self.fleet = as_fleet(watch)
        self._books = Books(self.history, checked)
        self._closer = weakref.finalize(self, self._books.close_soon)
        self._closer.atexit = False  # the books know of the exit themselves, and want to be closed before it goes on
        self._grid = grid
        self._bridge = self._begin_watching(checked)
        self._is_flowers_own = type(grid).send_and_receive.__module__.startswith("flwr.")

    def set_run(self, *args: Any, **kwargs: Any) -> None:
        self._grid.set_run(*args, **kwargs)

    @property
    def run(self) -> Any:
        """Run information, as the grid gives it."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        nodes = list(self._grid.get_node_ids())
        if self._bridge is not None:
            self._bridge.present(nodes)
        return nodes

    def get_nodes(self) -> Any:
        """Return the nodes, as the grid gives them."""
        return self._grid.get_nodes()

    def __getattr__(self, name: str) -> Any:
        """Return what only the grid itself has."""
        if name == "_grid":  # not there yet
            raise AttributeError(name)
        return getattr(self._grid, name)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._push(messages)[0]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        before = time.monotonic()
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            self._take(reply)
        self._expire(before)
        if replies:
            self._books.look_at_own_cost()
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        if not self._is_flowers_own:  # who knows what another one does; its replies come all at once
            noted, batch = self._send(messages)
            del messages
            try:
                replies = list(self._grid.send_and_receive(noted, timeout=timeout))
            except BaseException:
                self._lose(batch)
                raise
            self._gone(batch)
            for reply in replies:
                self._take(reply)
        else:  # what Flower documents of it: push, then pull until all are there or the time is up
            begun = time.monotonic()
            pushed, batch = self._push(messages)
            ids = {sent_id for sent_id in pushed if sent_id}
            del messages
            replies = []
            while ids and (timeout is None or time.monotonic() < begun + timeout):
                found = list(self.pull_messages(ids))
                replies += found
                ids -= {reply.metadata.reply_to_message_id for reply in found}
                if ids:
                    time.sleep(getattr(self._grid, "pull_interval", PULL_SECONDS))
        self._lose(batch)
        self._expire(time.monotonic())
        self._books.look_at_own_cost()
        return replies

    def close(self) -> None:
        """The run is over: messages without a reply are lost, sinks are closed. Does nothing the second time."""
        self._closer.detach()
        if self._bridge is not None:
            self._bridge.close()
        self._books.close()

    def __enter__(self) -> MonitoredGrid:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _push(self, messages: Iterable[Message]) -> tuple[list[str], _Batch]:
        """Push messages; those that the grid did not take are lost."""
        self._expire(time.monotonic())
        noted, batch = self._send(messages)
        try:
            ids = list(self._grid.push_messages(noted))
        except BaseException:
            self._lose(batch)
            raise
        self._gone(batch)
        if self._is_flowers_own:  # it returns the ids that it wrote into the messages
            self._lose(batch.without(set(ids)))
        return ids, batch

    def _begin_watching(self, sinks: Iterable[HistorySink]) -> Bridge | None:
        if self.fleet is None:
            return None
        from heflwr.flower.watch.bridge import Bridge

        for sink in sinks:
            if (watch := getattr(sink, "watch", None)) is not None:
                watch(self.fleet)
        return Bridge(self.fleet, self._grid.send_and_receive)

    def _send(self, messages: Iterable[Message]) -> tuple[list[Message], _Batch]:
        """Note messages; return those that are to be pushed in their place."""
        noted = list(messages)  # Flower's own grid goes over them twice
        sent = self._books.send(noted)
        if self._bridge is None:
            return noted, _Batch(sent, [])
        pushed, asked = self._bridge.outgoing(noted, {id(one.metadata): one.round for one in sent})
        return pushed, _Batch(sent, asked)

    def _gone(self, batch: _Batch) -> None:
        self._books.gone(batch.sent)
        if self._bridge is not None:
            self._bridge.gone(batch.asked)

    def _take(self, reply: Message) -> None:
        if self._bridge is not None:
            self._bridge.take(reply)
        self._books.take(reply)

    def _lose(self, batch: _Batch) -> None:
        self._books.lose(batch.sent)
        if self._bridge is not None:
            self._bridge.lose(batch.asked)

    def _expire(self, clock: float) -> None:
        self._books.expire(clock)
        if self._bridge is not None:
            self._bridge.expire(clock)
            self._bridge.settle()


def as_fleet(watch: Iterable[Measure] | Fleet) -> Fleet | None:
    """Return a fleet of a list of measures, or the one that is given; None for an empty list."""
    if isinstance(watch, (list, tuple)) and not watch:
        return None
    from heflwr.flower.watch.fleet import Fleet  # only who watches loads what it takes

    return watch if isinstance(watch, Fleet) else Fleet(watch)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages that were pushed together, as the books and the bridge know them."""

    sent: list[Sent]
    asked: list[Asked]

    def without(self, ids: set[str]) -> _Batch:
        """Return those whose id is none of these."""
        return _Batch(
            [one for one in self.sent if one.metadata.message_id not in ids],
            [one for one in self.asked if one.metadata.message_id not in ids],
        )
