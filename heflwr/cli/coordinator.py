"""`heflwr coordinator`: know functions of a fleet within their bounds; print them, serve them, post them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack

from heflwr.cli.stopping import stopped_by_signals
from heflwr.live import LiveCoordinator, Standing, read_watches
from heflwr.live.errors import LiveError
from heflwr.live.gauges import FleetGauges
from heflwr.live.posting import Poster
from heflwr.monitor.errors import MonitorError

TOKEN = "HEFLWR_COLLECTOR_TOKEN"

REPORTERS = 3
"""Who sent most since the last lines, at most so many names."""


def coordinator(
    *,
    watch: str,
    listen: str,
    keys: str | None,
    agents: int,
    lease: float,
    state: str | None,
    prometheus: int | None,
    prometheus_host: str,
    collector: str | None,
    identifier: str,
    print_seconds: float,
) -> int:
    """Run until a signal comes; return the exit code."""
    stop = threading.Event()
    try:
        if not print_seconds > 0:
            raise ValueError(f"--print must be > 0, got {print_seconds:g}")
        with ExitStack() as stack:
            live = LiveCoordinator(
                read_watches(watch),
                listen,
                keys,
                agents=agents,
                lease_seconds=lease,
                state=state,
                on_alert=lambda text: _say(f"ALERT {text}"),
                on_event=_say,
            )
            gauges = None if prometheus is None else FleetGauges(lambda: live.standings, prometheus, prometheus_host)
            poster = None if collector is None else Poster(collector, identifier, token=os.environ.get(TOKEN))
            stack.enter_context(stopped_by_signals(stop))
            stack.enter_context(live)
            _say(f"listening on {live.address}{'' if keys else ', without keys'}")
            if gauges is not None:
                stack.enter_context(gauges)
                _say(f"metrics at {gauges.url}")
            if poster is not None:
                stack.enter_context(poster)
            _work(live, poster, print_seconds, stop)
    except (LiveError, MonitorError, ValueError, TypeError, OSError) as error:
        print(f"heflwr: {error}", file=sys.stderr)
        return 1
    _say("ended")
    return 0


def _work(live: LiveCoordinator, poster: Poster | None, print_seconds: float, stop: threading.Event) -> None:
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        due = max(due + print_seconds, time.monotonic())
        reports = live.reports()
        for standing in live.standings:
            _say(described(standing, reports[standing.name]))
        if poster is not None:
            poster.take(live.standings)


def described(standing: Standing, reports: Counter[str]) -> str:
    """Return a function in a line.

    Args:
        standing: As it stands.
        reports: Who sent how many messages of late.
    """
    value = "unknown" if standing.value is None else f"{standing.value:.6g}"
    bound = "?" if standing.bound is None else f"{standing.bound:.4g}"
    unit = f" {standing.unit}" if standing.unit else ""
    line = f"{standing.name} {value} +- {bound}{unit} ({standing.guarantee}), {standing.live} live"
    for count, what in ((standing.stale, "stale"), (standing.lost, "lost")):
        line += f", {count} {what}" if count else ""
    line += f"; {standing.messages} messages for {standing.updates} updates"
    if reports:
        line += f"; of late from {', '.join(f'{name} ({count})' for name, count in reports.most_common(REPORTERS))}"
        line += " ..." if len(reports) > REPORTERS else ""
    return line


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
