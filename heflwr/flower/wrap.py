"""One function that wraps either side of a Flower app."""

from __future__ import annotations

import inspect
from typing import Any, overload

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from heflwr.flower.client.mod import MonitoredClient, MonitorMod
from heflwr.flower.server.app import MonitoredServer


@overload
def monitored(app: ClientApp, **options: Any) -> MonitoredClient: ...
@overload
def monitored(app: ServerApp, **options: Any) -> MonitoredServer: ...
def monitored(app: ClientApp | ServerApp, **options: Any) -> MonitoredClient | MonitoredServer:
    """Return an app that does what `app` does and is measured doing so.

    Args:
        app: A ClientApp or a ServerApp of any style; functions may still be registered with the result.
        **options: For a ClientApp those of `MonitorMod` (metrics, sinks, interval, resident, watch, warm_up, live),
            for a ServerApp those of `MonitoredServer` (sinks, watch, live, and of `Fleet` kinds, sync, lease,
            checkpoint).

    Raises:
        TypeError: Neither of the two, one that is monitored already, or an option that it does not have.
        ValueError: An option out of range.
    """
    if isinstance(app, (MonitoredClient, MonitoredServer)):
        raise TypeError(f"this app is monitored already, wrap it once: {app!r}")
    if isinstance(app, ClientApp):
        _check("ClientApp", options, tuple(inspect.signature(MonitorMod).parameters))
        return MonitoredClient(app, MonitorMod(**options))
    if isinstance(app, ServerApp):
        _check("ServerApp", options, tuple(inspect.signature(MonitoredServer).parameters)[1:])
        return MonitoredServer(app, **options)
    raise TypeError(f"monitored() wraps a ClientApp or a ServerApp, got {app!r} ({type(app).__name__})")


def _check(side: str, options: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise TypeError for an option that this side does not have."""
    for name in options:
        if name not in known:
            raise TypeError(f"a monitored {side} has no option {name!r}; it has {', '.join(known)}")
