"""The client's side: a mod that measures every message a ClientApp handles, and a wrapper for those who set no mods."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from heflwr.flower import records
from heflwr.flower.client.measure import Call, Node, Settings, Sinks, running
from heflwr.flower.client.turn import Turn
from heflwr.monitor import Monitor, arguments
from heflwr.monitor.metrics import GROUPS
from heflwr.monitor.monitor import INTERVAL_RANGE
from heflwr.monitor.sinks import Sink

if TYPE_CHECKING:
    from heflwr.automon.fleet import Measure
    from heflwr.flower.watch.channel import LiveChannel
    from heflwr.flower.watch.client import Watcher

_logger = logging.getLogger("heflwr.flower")

METRICS = ("cpu", "memory", "network", "disk")
"""Measured when nothing else is asked for: what every machine has and what costs next to nothing to read."""

INTERVAL_SECONDS = 0.05
"""Between samples inside a call: the process's own counters at each, new children looked for twice a second at most."""

CallNext = Callable[[Message, Context], Message]


class MonitorMod:
    """A Flower mod: measures each message's handling and sends the cost along with the reply.

    Holds settings only, so that it can be pickled to a worker; whatever fails in it costs numbers, never a result.

    Example:
        >>> from flwr.clientapp import ClientApp
        >>> app = ClientApp(mods=[MonitorMod(metrics=("cpu", "memory"))])
    """

    def __init__(
        self,
        metrics: Iterable[str] = METRICS,
        *,
        sinks: Iterable[Sink] | Callable[[Node], Iterable[Sink]] = (),
        interval: float = INTERVAL_SECONDS,
        resident: bool = False,
        watch: Iterable[Measure] = (),
        warm_up: int | None = None,
        live: LiveChannel | None = None,
    ) -> None:
        """Check and remember.

        Args:
            metrics: Groups: cpu and memory (always on), network, disk, power, energy, gpu. One that the node has no
                source for is left out of its report, with a note.
            sinks: Where samples of the calls go, or a function that makes a node's own sinks of its `Node`. With
                `resident` it is the agent that feeds them.
            interval: Seconds between samples inside a call, from 0.001; a resident agent takes one a second.
            resident: In a deployment, keep one small process a SuperNode that samples between messages too.
            watch: Functions of the fleet, measures of `heflwr.automon.fleet`: the server's list.
            warm_up: How many of a node's first calls are left out of what is watched; default 1.
            live: What a resident agent tells a coordinator second by second; the server's channel.

        Raises:
            ValueError: An unknown group, an interval out of range, a list that cannot be watched, or a live channel
                without a resident agent.
            TypeError: Something of the wrong type.
        """
        if live is not None and not resident:
            raise ValueError("live= needs the agent that lives between messages: give resident=True, too")
        self._settings = Settings(
            groups=_groups(metrics),
            sinks=_sinks(sinks),
            interval=arguments.number("interval", interval, *INTERVAL_RANGE),
            resident=arguments.boolean("resident", resident),
            live=live,
        )
        self._watcher = _watcher(watch, warm_up)

    def __call__(self, message: Message, context: Context, call_next: CallNext) -> Message:
        """Handle the message as the app would, and report what that cost."""
        outer = running.get()
        if outer is None:
            return _handle(self._settings, self._watcher, message, context, call_next, is_reported=True)
        if outer.is_reported:
            outer.note("there is a second MonitorMod inside: it measures nothing, its options are not used")
        outer.is_reported = True
        _join(outer, self._watcher)
        return call_next(message, context)


class AutoMonMod:
    """A Flower mod that measures only what the server watches (see `Fleet`), and reports no costs.

    Messages that ask for nothing are handled as if it were not there.
    """

    def __init__(
        self,
        watch: Iterable[Measure],
        *,
        metrics: Iterable[str] = METRICS,
        interval: float = INTERVAL_SECONDS,
        warm_up: int | None = None,
    ) -> None:
        """Check and remember; see `MonitorMod`."""
        self._settings = Settings(_groups(metrics), (), arguments.number("interval", interval, *INTERVAL_RANGE), False)
        self._watcher = _watcher(watch, warm_up)
        if self._watcher is None:
            raise ValueError("watch holds no function; without one there is nothing to do for an AutoMonMod")

    def __call__(self, message: Message, context: Context, call_next: CallNext) -> Message:
        """Handle the message as the app would, and reply to what is asked with it."""
        outer = running.get()
        if outer is not None:
            _join(outer, self._watcher)
            return call_next(message, context)
        if records.WATCH not in message.content:
            return call_next(message, context)
        return _handle(self._settings, self._watcher, message, context, call_next, is_reported=False)


def _handle(
    settings: Settings,
    watcher: Watcher | None,
    message: Message,
    context: Context,
    call_next: CallNext,
    *,
    is_reported: bool,
) -> Message:
    """Handle a message as the app would, and put on the reply what is known of that."""
    turn = _turn(watcher, message, context)
    if turn is not None and watcher is not None and message.metadata.message_type == records.QUERY:
        return turn.query(message, context)
    call = Call(settings, message, context, turn, is_reported=is_reported)
    token = running.set(call)
    try:
        reply = call_next(message, context)
    except BaseException:
        call.abandon()
        raise
    finally:
        running.reset(token)
    call.report_on(reply)
    return reply


def _turn(watcher: Watcher | None, message: Message, context: Context) -> Turn | None:
    """Take off a message what is asked with it; None where what is there is none of ours."""
    try:
        return Turn(watcher, message, context)
    except Exception as error:
        _logger.warning("heflwr goes on without watching: %s: %s", type(error).__name__, error)
        return None


def _join(outer: Call, watcher: Watcher | None) -> None:
    """Have the call that is under way serve a mod further inside, too."""
    if outer.turn is not None and outer.turn.watcher is None:
        outer.turn.watcher = watcher


def _watcher(watch: Iterable[Measure], warm_up: int | None) -> Watcher | None:
    if isinstance(watch, (list, tuple)) and not watch:
        if warm_up is not None:
            raise ValueError("warm_up only means something together with watch=[...]")
        return None
    from heflwr.flower.watch.client import WARM_UP, Watcher  # only who watches loads what it takes

    return Watcher(watch, warm_up=WARM_UP if warm_up is None else warm_up)


class MonitoredClient(ClientApp):
    """A ClientApp that handles messages as `app` does, and is measured doing so."""

    def __init__(self, app: ClientApp, mod: MonitorMod) -> None:
        super().__init__()
        self.app = app
        self.mod = mod

    def __call__(self, message: Message, context: Context) -> Message:
        """Handle the message as the app would, and report what that cost."""
        return self.mod(message, context, self.app)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Register a function with the app itself."""
        return self.app.train(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Register a function with the app itself."""
        return self.app.evaluate(*args, **kwargs)

    def query(self, *args: Any, **kwargs: Any) -> Any:
        """Register a function with the app itself."""
        return self.app.query(*args, **kwargs)

    def lifespan(self) -> Any:
        """Register a function with the app itself."""
        return self.app.lifespan()


def _groups(metrics: Iterable[str]) -> tuple[str, ...]:
    known = [name for name in GROUPS if name != "threads"]
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a list of names, got the text {metrics!r}; write ({metrics!r},)")
    if isinstance(metrics, Mapping) or not isinstance(metrics, Iterable):  # {"disk": False} would switch it on
        raise TypeError(f"metrics must be a list of names, got {metrics!r} ({type(metrics).__name__})")
    chosen = list(metrics)
    for name in chosen:
        if name not in known:
            raise ValueError(f"there is no metric {name!r}; choose from {', '.join(known)}")
    return tuple(dict.fromkeys(["cpu", "memory", *chosen]))


def _sinks(sinks: Iterable[Sink] | Callable[[Node], Iterable[Sink]]) -> Sinks:
    if isinstance(sinks, (str, type)) or not (callable(sinks) or isinstance(sinks, Iterable)):
        raise TypeError(f"sinks must be a list of sinks, or a function that returns a node's, got {sinks!r}")
    if callable(sinks):
        return sinks
    listed = tuple(sinks)
    for place, sink in enumerate(listed):
        if isinstance(sink, type):
            raise TypeError(f"sinks[{place}] is a class, not a sink made of it; write {sink.__name__}(...)")
        if hasattr(sink, "sent") and hasattr(sink, "entry"):
            raise TypeError(f"sinks[{place}] is for the server's side, monitored(server_app, sinks=[...]): {sink!r}")
    Monitor(listed)  # says what is wrong with one that is none
    return listed
