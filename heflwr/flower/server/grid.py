"""The server's side: a Grid that notes what every message cost and takes the reports off the replies."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from typing import Any

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from heflwr.flower.history.ledger import History
from heflwr.flower.server.books import Books, Sent
from heflwr.flower.server.sinks import HistorySink, as_history_sinks, listed
from heflwr.monitor.sinks import Sink

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
    """

    def __init__(self, grid: Grid, *, sinks: Iterable[Sink | HistorySink] = (), history: History | None = None) -> None:
        """Wrap a grid.

        Args:
            grid: The one that a ServerApp's main function gets.
            sinks: Where the history goes while it grows: `HistoryFile`, `Console`, `Gauges` of this package, or any
                sink of a monitor but `PrometheusSink` (each node is a run of its own there, each reply a sample).
            history: Goes on with this one; default a new one.

        Raises:
            TypeError: No grid, or a sink that is none.
            MonitorError, OSError: A sink that cannot be opened.
        """
        checked = as_history_sinks(sinks)
        if not callable(getattr(type(grid), "send_and_receive", None)):
            raise TypeError(f"MonitoredGrid wraps the grid that a ServerApp's main gets, got {grid!r}")
        self.history = history if history is not None else History()
        self._books = Books(self.history, checked)
        self._closer = weakref.finalize(self, self._books.close_soon)
        self._closer.atexit = False  # the books know of the exit themselves, and want to be closed before it goes on
        self._grid = grid
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
        return self._push(messages)[0]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        before = time.monotonic()
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            self._books.take(reply)
        self._books.expire(before)
        if replies:
            self._books.look_at_own_cost()
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        if not self._is_flowers_own:  # who knows what another one does; its replies come all at once
            noted = list(messages)  # Flower's own grid goes over them twice
            del messages
            batch = self._books.send(noted)
            try:
                replies = list(self._grid.send_and_receive(noted, timeout=timeout))
            except BaseException:
                self._books.lose(batch)
                raise
            self._books.gone(batch)
            for reply in replies:
                self._books.take(reply)
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
        self._books.lose(batch)
        self._books.expire(time.monotonic())
        self._books.look_at_own_cost()
        return replies

    def close(self) -> None:
        """The run is over: messages without a reply are lost, sinks are closed. Does nothing the second time."""
        self._closer.detach()
        self._books.close()

    def __enter__(self) -> MonitoredGrid:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _push(self, messages: Iterable[Message]) -> tuple[list[str], list[Sent]]:
        """Push messages; those that the grid did not take are lost."""
        self._books.expire(time.monotonic())
        noted = list(messages)  # Flower's own grid goes over them twice
        batch = self._books.send(noted)
        try:
            ids = list(self._grid.push_messages(noted))
        except BaseException:
            self._books.lose(batch)
            raise
        self._books.gone(batch)
        if self._is_flowers_own:  # it returns the ids that it wrote into the messages
            taken = set(ids)
            self._books.lose([sent for sent in batch if sent.metadata.message_id not in taken])
        return ids, batch


class MonitoredServer(ServerApp):
    """A ServerApp that does what `app` does, on a `MonitoredGrid`.

    It can be pickled where `app` and the sinks can; a copy begins with an empty history.

    Attributes:
        app: The wrapped one.
        history: What the last run cost; it grows while the run goes on.
    """

    def __init__(self, app: ServerApp, *, sinks: Iterable[Sink | HistorySink] = ()) -> None:
        super().__init__()
        self.app = app
        self.history = History()
        self._sinks = listed(sinks)
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

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "history"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.history = History()
