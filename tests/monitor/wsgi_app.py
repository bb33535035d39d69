"""What gunicorn serves in tests/monitor/test_wsgi_servers.py; one request is served before it forks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from waiting import burn

from heflwr.monitor.wsgi import Middleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

BURNT_SECONDS = 0.02


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the pid of the worker; stream, burn or die where the path says so."""
    path = environ["PATH_INFO"]
    if path == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/burn":
        burn(BURNT_SECONDS)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return _streamed() if path == "/stream" else [str(os.getpid()).encode()]


def _streamed() -> Iterator[bytes]:
    yield b"one "
    burn(BURNT_SECONDS)
    yield b"two"


def create() -> Middleware:
    """Return the application in the middleware; its directory is in the environment, if it has one."""
    measured = Middleware(
        application,
        route=lambda environ: environ["PATH_INFO"],
        metrics_path="/metrics",
        directory=os.environ.get("FIGURES"),
    )
    list(measured({"REQUEST_METHOD": "GET", "PATH_INFO": "/before-fork"}, lambda *started: lambda data: None))
    return measured
