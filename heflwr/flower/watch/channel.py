"""The live channel of a Flower app, as both sides are told of it: what is watched, and where they meet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heflwr.live.addresses import endpoint
from heflwr.live.watches import Watches, watches_of
from heflwr.monitor import arguments

if TYPE_CHECKING:
    from heflwr.live.agent import Agent
    from heflwr.live.coordinator import LiveCoordinator

CONNECT = LISTEN = "127.0.0.1:7100"
INTERVAL_RANGE = 0.05, 3600.0
"""Seconds between samples."""


class LiveChannel:
    """Functions of the fleet that are watched second by second, between the rounds of a deployment, too.

    The same on both sides: `monitored(client_app, resident=True, live=...)` has each SuperNode's resident agent connect
    out, `monitored(server_app, live=...)` has a coordinator in the ServerApp's process. It holds settings only. A
    machine's environment comes before them: HEFLWR_AGENT_CONNECT and HEFLWR_AGENT_KEYS of a SuperNode,
    HEFLWR_COORDINATOR_LISTEN and HEFLWR_COORDINATOR_KEYS of the ServerApp, as of the `heflwr` command.

    Example:
        >>> live = LiveChannel([{"kind": "mean", "metric": "cpu_usage", "bound": 2.0}])
    """

    def __init__(
        self,
        watches: Watches | Iterable[Mapping[str, Any]],
        *,
        connect: str = CONNECT,
        listen: str = LISTEN,
        keys: str | os.PathLike[str] | None = None,
        agents: int = 1,
        interval: float = 1.0,
    ) -> None:
        """Check and remember; the environment and the keys are read where a side begins.

        Args:
            watches: What is watched: `heflwr.live.read_watches(path)`, or its entries as mappings.
            connect: HOST:PORT where SuperNodes find the coordinator; it may be another one's, such as that of
                `heflwr coordinator`.
            listen: HOST:PORT where the ServerApp's process listens; without keys only this machine's own.
            keys: Folder of the keys of whichever machine it is on; None: none, which does for one machine.
            agents: How many the first answer waits for.
            interval: Seconds between samples, 0.05 to 3600.

        Raises:
            WrongWatches: The list holds something else.
            ValueError, TypeError: Another argument does.
        """
        entries = watches.entries if isinstance(watches, Watches) else [dict(entry) for entry in watches]
        watches_of({"watch": entries})
        self._entries = entries
        self._connect, self._listen = connect, listen
        for address in (connect, listen):
            endpoint(address)
        self._keys = None if keys is None else os.fspath(keys)
        self._agents = arguments.integer("agents", agents, 1, 10**6)
        self._interval = arguments.number("interval", interval, *INTERVAL_RANGE)

    def coordinator(self, environment: Mapping[str, str] = os.environ) -> LiveCoordinator:
        """Return the server's side, not started yet.

        Raises:
            WrongKeys: The folder of keys cannot be used.
            ValueError: An address is none, or needs keys.
        """
        from heflwr.live.coordinator import LiveCoordinator  # ZeroMQ is loaded by who uses it

        return LiveCoordinator(
            watches_of({"watch": self._entries}),
            environment.get("HEFLWR_COORDINATOR_LISTEN", self._listen),
            environment.get("HEFLWR_COORDINATOR_KEYS", self._keys),
            agents=self._agents,
        )

    def plan(self, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
        """Return what an agent of this machine has to know, as JSON can hold it."""
        keys = environment.get("HEFLWR_AGENT_KEYS", self._keys)
        return {
            "watches": self._entries,
            "connect": environment.get("HEFLWR_AGENT_CONNECT", self._connect),
            "keys": None if keys is None else os.path.abspath(keys),
            "interval": self._interval,
        }


def agent_of(plan: Mapping[str, Any], identifier: str, pid: int, on_event: Callable[[str], None]) -> Agent:
    """Return the agent of a plan.

    Args:
        plan: What `LiveChannel.plan` gave.
        identifier: What it is called where there are no keys.
        pid: The process that it watches, with its children.
        on_event: Gets a line when it takes part, is refused or hears nothing.

    Raises:
        WrongKeys: The folder of keys cannot be used.
        ValueError: A metric comes from nowhere, or the address needs keys.
        ImportError: There is no pyzmq here.
    """
    from heflwr.live.agent import Agent

    keys = None if plan["keys"] is None else Path(plan["keys"])
    return Agent(
        watches_of({"watch": plan["watches"]}),
        plan["connect"],
        keys,
        identifier=identifier if keys is None else None,
        interval=plan["interval"],
        pid=pid,
        on_event=on_event,
    )
