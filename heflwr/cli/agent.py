"""`heflwr agent`: sample this machine, and tell a coordinator what leaves its zone."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from heflwr.cli.stopping import stopped_by_signals
from heflwr.live import Agent, read_watches
from heflwr.live.errors import LiveError
from heflwr.monitor.errors import MonitorError


def agent(
    *,
    watch: str,
    connect: str,
    keys: str | None,
    identifier: str | None,
    interval: float,
    pid: int | None,
    values: str | None,
) -> int:
    """Run until a signal comes or the watched process ends; return the exit code."""
    stop = threading.Event()
    try:
        one = Agent(
            read_watches(watch),
            connect,
            keys,
            identifier=identifier,
            interval=interval,
            pid=pid,
            values=None if values is None else Path(values),
            on_event=_say,
        )
        with stopped_by_signals(stop):
            _say(f"connects to {connect}")
            one.run(stop)
    except (LiveError, MonitorError, ValueError, TypeError, OSError) as error:
        print(f"heflwr: {error}", file=sys.stderr)
        return 1
    _say(f"ended: {one.updates} vectors, {one.messages} messages")
    return 0 if stop.is_set() else 1


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} agent: {text}", flush=True)
