"""The client's side: a mod that measures every message a ClientApp handles, and a wrapper for those who set no mods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from heflwr.flower.client.measure import Call, Node, Settings, Sinks, running
from heflwr.monitor import Monitor, arguments
from heflwr.monitor.metrics import GROUPS
from heflwr.monitor.monitor import INTERVAL_RANGE
from heflwr.monitor.sinks import Sink

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
    ) -> None:
        """Check and remember.

        Args:
            metrics: Groups: cpu and memory (always on), network, disk, power, energy, gpu. One that the node has no
                source for is left out of its report, with a note.
            sinks: Where samples of the calls go, or a function that makes a node's own sinks of its `Node`. With
                `resident` it is the agent that feeds them.
            interval: Seconds between samples inside a call, from 0.001; a resident agent takes one a second.
            resident: In a deployment, keep one small process a SuperNode that samples between messages too.

        Raises:
            ValueError: An unknown group, or an interval out of range.
            TypeError: Something of the wrong type.
        """
        self._settings = Settings(
            groups=_groups(metrics),
            sinks=_sinks(sinks),
            interval=arguments.number("interval", interval, *INTERVAL_RANGE),
            resident=arguments.boolean("resident", resident),
        )

    def __call__(self, message: Message, context: Context, call_next: CallNext) -> Message:
        """Handle the message as the app would, and report what that cost."""
        outer = running.get()
        if outer is not None:
            outer.note("there is a second MonitorMod inside: it measures nothing, its options are not used")
            return call_next(message, context)
        call = Call(self._settings, message, context)
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
