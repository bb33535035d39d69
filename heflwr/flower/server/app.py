"""The server's side for those who wrap whole apps: a ServerApp that runs on a MonitoredGrid."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from heflwr.flower.history.ledger import History
from heflwr.flower.server.grid import MonitoredGrid
from heflwr.flower.server.sinks import HistorySink, as_history_sinks, listed
from heflwr.monitor.sinks import Sink

if TYPE_CHECKING:
    from heflwr.automon.fleet import Measure
    from heflwr.flower.watch.channel import LiveChannel
    from heflwr.flower.watch.fleet import Fleet
    from heflwr.live import LiveCoordinator


class MonitoredServer(ServerApp):
    """A ServerApp that does what `app` does, on a `MonitoredGrid`.

    It can be pickled where `app`, the sinks and what is watched can; a copy begins with an empty history.

    Attributes:
        app: The wrapped one.
        history: What the last run cost; it grows while the run goes on.
        fleet: What the last run knows of the watched functions; None where nothing is watched.
        live: The live channel's coordinator of this run, or of the last one; None where there is none.
    """

    def __init__(
        self,
        app: ServerApp,
        *,
        sinks: Iterable[Sink | HistorySink] = (),
        watch: Iterable[Measure] = (),
        kinds: Iterable[str] | None = None,
        sync: str | None = None,
        lease: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        live: LiveChannel | None = None,
    ) -> None:
        super().__init__()
        self.app = app
        self.history = History()
        self._sinks = listed(sinks)
        as_history_sinks(self._sinks)  # wrong ones are told at the door
        self._watch = tuple(watch) if isinstance(watch, Iterable) and not isinstance(watch, str) else watch
        given = {"kinds": kinds, "sync": sync, "lease": lease, "checkpoint": checkpoint}
        self._watching = {name: value for name, value in given.items() if value is not None}
        if self._watch == () and self._watching:
            raise ValueError(f"{', '.join(self._watching)} only mean something together with watch=[...]")
        self.fleet = self._new_fleet()
        self._channel = live
        self.live: LiveCoordinator | None = None

    def __call__(self, grid: Grid, context: Context) -> None:
        """Run the app.

        Raises:
            LiveError, ValueError: The live channel's address or keys cannot be had; nothing was run.
        """
        if self.history.entries:
            self.history = History()
        if self.fleet is not None and self.fleet.has_news:
            self.fleet = self._new_fleet()
        watch = () if self.fleet is None else self.fleet
        with ExitStack() as stack:
            if self._channel is not None:
                self.live = stack.enter_context(self._channel.coordinator())
            monitored = MonitoredGrid(grid, sinks=self._sinks, history=self.history, watch=watch)
            self.app(stack.enter_context(monitored), context)

    def main(self) -> Any:
        """Register the main function with the app itself."""
        return self.app.main()

    def lifespan(self) -> Any:
        """Register a function with the app itself."""
        return self.app.lifespan()

    def _new_fleet(self) -> Fleet | None:
        if self._watch == ():
            return None
        from heflwr.flower.watch.fleet import Fleet  # only who watches loads what it takes

        return Fleet(self._watch, **self._watching)  # type: ignore[arg-type]  # which checks them

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("history", "fleet", "live")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.live = None
        self.history = History()
        self.fleet = self._new_fleet()
