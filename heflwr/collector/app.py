"""The collector as a WSGI application: a Flask app over a store. What it takes and answers is in docs/collector.md."""

from __future__ import annotations

import os

from flask import Flask

from heflwr.collector.answers import add_answers
from heflwr.collector.counters import Counters
from heflwr.collector.events import LISTENERS_MAX, Hub
from heflwr.collector.fleet import LOST_SECONDS, Fleet
from heflwr.collector.gate import Gate
from heflwr.collector.guard import Guard
from heflwr.collector.pace import Pace
from heflwr.collector.page import add_page
from heflwr.collector.routes import export, ingest, live, login, rows, views
from heflwr.collector.store import Store
from heflwr.collector.store.rolling import Tails
from heflwr.collector.targets import Targets

RATE = 1_000.0
"""Requests a second from one token, or from one address without: a thousand clients on one machine make 333."""


def create_app(
    database: str | os.PathLike[str] | Store,
    *,
    token: str | None = None,
    rate: float = RATE,
    listeners: int = LISTENERS_MAX,
    lost_seconds: float = LOST_SECONDS,
    is_local: bool = False,
) -> Flask:
    """Return the collector as a WSGI application.

    Args:
        database: Path of a SQLite file, created where it does not exist, or `postgresql://...`; or an open store. The
            caller closes it; `app.extensions["heflwr.collector"]` is the one that a path opened.
        token: Bearer token that may do everything. Where it is None and the database has no tokens, none is asked for.
        rate: Requests a second that one token, or one address without, may make; 0 for no limit.
        listeners: Most pages that hear events at a time; each holds a thread of the server.
        lost_seconds: A client that was not heard of for so long is lost.
        is_local: It is served on a loopback address: without tokens, requests must be for 127.0.0.1, ::1 or localhost.

    Raises:
        StoreUnavailable: The database cannot be had.
        ValueError: An empty token, a negative number.
    """
    if token is not None and not token:
        raise ValueError("token must not be empty; leave it out to ask for none")
    for name, value in (("rate", rate), ("listeners", listeners), ("lost_seconds", lost_seconds)):
        if not value >= 0:
            raise ValueError(f"{name} must be >= 0, got {value}")
    if isinstance(database, Store):
        store = database
    else:
        store = Store(database)
        store.open()
    app = Flask("heflwr.collector", static_folder=None)
    app.extensions["heflwr.collector"] = store
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    hub = app.extensions["heflwr.collector.events"] = Hub(listeners)
    store.on_change = hub.tell
    guard = Guard(store, token, rate, is_local)
    tails, pace = Tails(), Pace()
    fleet = app.extensions["heflwr.collector.fleet"] = Fleet(store, tails, pace, lost_seconds=lost_seconds)
    counters = Counters(store, hub, fleet, pace)
    app.extensions["heflwr.collector.refused"] = lambda reason: counters.refused.labels(reason).inc()
    add_answers(app, counters)
    login.add(app, guard)
    ingest.add(app, store, guard, counters)
    rows.add(app, store)
    views.add(app, store, fleet, tails)
    export.add(app, store)
    live.add(app, store, guard, hub, Targets(), counters)
    add_page(app)
    gate = app.extensions["heflwr.collector.gate"] = Gate(app.wsgi_app, store, guard, counters, pace)
    app.wsgi_app = gate  # type: ignore[method-assign]
    return app
