"""The WSGI middleware on real servers: threads in this process, and worker processes that are killed and replaced."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import wsgi_app
from prometheus_client.parser import text_string_to_metric_families
from servers import get
from waiting import wait_for

from heflwr.monitor.wsgi import Middleware

TESTS = Path(__file__).parents[1]

REQUESTS = 24


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def wsgiref_server(application: Middleware) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, application, handler_class=_Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="test-wsgiref")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def waitress_server(application: Middleware) -> Iterator[str]:
    waitress = pytest.importorskip("waitress.server")
    channels: dict[int, object] = {}
    server = waitress.create_server(application, map=channels, host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run, name="test-waitress")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        with contextlib.suppress(OSError):  # its loop may run this, and close the trigger, before we have pulled it
            server.trigger.pull_trigger(lambda: [channel.close() for channel in list(channels.values())])
        thread.join()
        server.task_dispatcher.shutdown()


class Gunicorn:
    """`gunicorn --workers 2 --preload` with the application of wsgi_app.py."""

    def __init__(self, folder: Path, figures: Path | None) -> None:
        pytest.importorskip("gunicorn")
        self._log = folder / "gunicorn.log"
        options = ["--workers", "2", "--preload", "--bind", "127.0.0.1:0", "--graceful-timeout", "2"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "monitor")])}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *options, "wsgi_app:create()"],
                env=environment | ({} if figures is None else {"FIGURES": str(figures)}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Gunicorn:
        found = wait_for(lambda: re.search(r"Listening at: (\S+)", self._log.read_text()), what="gunicorn")
        self.url = found[1]
        wait_for(lambda: self.workers == 2, what="two workers")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    @property
    def workers(self) -> int:
        """How many were started so far."""
        return self._log.read_text().count("Booting worker")


def counts(url: str) -> dict[str, float]:
    """Return the number of requests by route, as a scrape tells it."""
    status, page = get(f"{url}/metrics")
    assert 200 == status, page
    return {
        sample.labels["route"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "heflwr_http_request_duration_seconds_count"
    }


@pytest.mark.parametrize("server", [wsgiref_server, waitress_server], ids=["wsgiref", "waitress"])
def test_a_server_in_this_process(server: Callable[[Middleware], contextlib.AbstractContextManager[str]]) -> None:
    """Plain and streamed answers arrive whole; each request is counted once, with its CPU time."""
    measured = wsgi_app.create()
    with server(measured) as url:
        assert (200, "one two") == get(f"{url}/stream")
        assert (200, os.getpid()) == get(f"{url}/burn")
        figures = wait_for(lambda: (found := {each.route: each for each in measured.stats()}).get("/stream") and found)
        assert {"/before-fork": 1.0, "/burn": 1.0, "/stream": 1.0} == counts(url)
    for route in ("/burn", "/stream"):
        assert wsgi_app.BURNT_SECONDS <= figures[route].cpu_seconds.sum < 5 * wsgi_app.BURNT_SECONDS


def test_workers_count_together_and_a_killed_one_takes_nothing_with_it(tmp_path: Path) -> None:
    """Any worker tells of all. The one that takes a dead one's place goes on with its file."""
    figures = tmp_path / "figures"
    figures.mkdir()
    with Gunicorn(tmp_path, figures) as gunicorn:
        with ThreadPoolExecutor(4) as clients:
            pids = list(clients.map(lambda _: get(f"{gunicorn.url}/burn")[1], range(REQUESTS)))
        expected = {"/before-fork": 1.0, "/burn": float(REQUESTS)}
        assert 2 == len(set(pids))
        assert [expected] * 10 == [counts(gunicorn.url) for _ in range(10)]
        files = sorted(figures.iterdir())
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{gunicorn.url}/die", timeout=20)
        wait_for(lambda: gunicorn.workers == 3, what="a new worker")
        with ThreadPoolExecutor(4) as clients:
            pids += clients.map(lambda _: get(f"{gunicorn.url}/burn")[1], range(REQUESTS))
        assert 3 == len(set(pids))
        assert {**expected, "/burn": 2.0 * REQUESTS} == counts(gunicorn.url)
        assert files == sorted(figures.iterdir())
        assert REQUESTS * 2 * wsgi_app.BURNT_SECONDS <= cpu_seconds(gunicorn.url, "/burn")


def cpu_seconds(url: str, route: str) -> float:
    page = get(f"{url}/metrics")[1]
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "heflwr_http_request_cpu_seconds_sum" and sample.labels["route"] == route
    ]
    return float(found)


def test_workers_without_a_directory_serve_and_say_what_is_missing(tmp_path: Path) -> None:
    """Instead of the figures of whoever is met."""
    with Gunicorn(tmp_path, None) as gunicorn:
        assert 200 == get(f"{gunicorn.url}/")[0]
        status, text = get(f"{gunicorn.url}/metrics")
        assert (500, True) == (status, "directory=" in text)
