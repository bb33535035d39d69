"""Servers on free loopback ports that tests send to: a real collector in a thread or a process, and a faulty one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from heflwr.collector import Store, create_app

PATIENCE_SECONDS = 30.0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Collected:
    """A collector that runs, and what it holds."""

    def __init__(self, url: str, store: Store) -> None:
        self.url = url
        self.address = url.partition("://")[2]
        self.store = store

    def samples(self, **filters: Any) -> list[dict[str, Any]]:
        everything = {"identifier": None, "run": None, "since": 0.0, "until": 1e10, "metrics": (), "limit": 100_000}
        return self.store.samples(**{**everything, **filters})[0]

    def lines(self) -> list[dict[str, Any]]:
        return self.store.lines(identifier=None, since=0.0, until=1e10, limit=100_000)[0]


@contextlib.contextmanager
def collector(
    database: Path, *, port: int = 0, token: str | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Collected]:
    """Serve a collector from a thread of this process."""
    with Store(database) as store:
        server = make_server("127.0.0.1", port, create_app(store, token=token), threaded=True, ssl_context=tls)
        thread = threading.Thread(target=server.serve_forever, name="test-collector")
        thread.start()
        try:
            yield Collected(f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}", store)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class CollectorProcess:
    """`python -m heflwr.collector` on a free port."""

    def __init__(self, database: Path, *arguments: str, port: int = 0, **environment: str) -> None:
        command = [sys.executable, "-m", "heflwr.collector", "--port", str(port), "--database", str(database)]
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        found = re.search(r"http://(\S+)", self.greeting)
        assert found, (self.greeting, self.process.poll())
        self.address = found[1]
        self.url = found[0]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code

    def __enter__(self) -> CollectorProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


class FaultyServer:
    """Answers each POST as it is told; remembers the bodies' paths and headers.

    `answer` is a function of the handler; the default never answers.
    """

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None) -> None:
        outer = self
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                with contextlib.suppress(OSError):
                    if answer is None:
                        outer.released.wait()
                    else:
                        answer(self, body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> FaultyServer:
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer a request."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def get(url: str, token: str | None = None) -> tuple[int, Any]:
    """Return the status and the JSON (or else the text) of a GET."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return _answer(urllib.request.Request(url, headers=headers))


def post(url: str, body: bytes, content_type: str = "application/json", **headers: str) -> tuple[int, Any]:
    """Return the status and the JSON (or else the text) of a POST."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return _answer(urllib.request.Request(url, data=body, headers={"Content-Type": content_type, **named}))


def _answer(request: urllib.request.Request) -> tuple[int, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE_SECONDS) as response:
            status, text = response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    with contextlib.suppress(ValueError):
        return status, json.loads(text)
    return status, text
