"""The WSGI middleware in this process: what it counts, and that it changes nothing."""

from __future__ import annotations

import doctest
import gc
import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from waiting import burn

import heflwr.monitor.wsgi.middleware
from heflwr.monitor import MonitorError
from heflwr.monitor.wsgi import Middleware, RequestFigures, flask_route

ROOT = Path(__file__).parents[2]

BURNT = 0.03
"""Seconds of CPU time; what the middleware adds is a thousandth of that."""

MIB = 2**20


class Answered:
    """What a server saw of one request."""

    def __init__(self, application: Callable[..., Any], path: str = "/", method: str = "GET", **environ: Any) -> None:
        asked = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", "SCRIPT_NAME": ""}
        self.environ: dict[str, Any] = {**asked, **environ}
        setup_testing_defaults(self.environ)
        self.started: list[tuple[Any, ...]] = []
        self.is_sent = False
        self.body: Iterable[bytes] = application(self.environ, self._start)

    def _start(self, status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        self.started.append((status, headers) if exc_info is None else (status, headers, exc_info))
        if self.is_sent:
            raise exc_info[1]  # too late
        return self._write

    def _write(self, data: bytes) -> None:
        self.is_sent = True

    def read(self) -> bytes:
        """Iterate and close as a server does."""
        try:
            return b"".join(self.body)
        finally:
            self.close()

    def close(self) -> None:
        if (close := getattr(self.body, "close", None)) is not None:
            close()


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def streamed(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    for _ in range(3):
        burn(BURNT / 3)
        yield b"x"


def only(measured: Middleware) -> RequestFigures:
    (figures,) = measured.stats()
    return figures


def run_script(code: str, folder: Path) -> str:
    """Return what a program prints that may fork; nothing else."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (0, "") == (result.returncode, result.stderr)
    return result.stdout


def test_a_response_comes_through_as_it_was() -> None:
    """Checked by the standard library's validator on both sides of the middleware."""
    for application, body in ((hello, b"hello"), (streamed, b"xxx")):
        measured = Middleware(validator(application))
        answered = Answered(validator(measured))
        assert body == answered.read()
        assert [("200 OK", [("Content-Type", "text/plain")])] == answered.started
        assert 1 == only(measured).seconds.count


def test_a_list_and_a_file_reach_the_server_themselves() -> None:
    """It may know their length, or send the file without reading it; the request is counted all the same."""
    chunks, file = [b"a", b"b"], FileWrapper(io.BytesIO(b"file"))
    for returned in (chunks, file):

        def application(environ: Any, start_response: Any, returned: Any = returned) -> Any:
            start_response("200 OK", [])
            return returned

        measured = Middleware(application)
        assert Answered(measured, **{"wsgi.file_wrapper": FileWrapper}).body is returned
        assert 1 == only(measured).seconds.count


def test_cpu_time_is_that_of_the_application_in_the_serving_thread() -> None:
    """Of the call, each step of the stream and close(); not the server's between them, not another thread's."""

    class Stream:
        def __iter__(self) -> Iterator[bytes]:
            burn(BURNT)
            return iter([b"x"])

        def close(self) -> None:
            burn(BURNT)

    def application(environ: Any, start_response: Any) -> Stream:
        start_response("200 OK", [])
        other = threading.Thread(target=burn, args=(BURNT,))
        other.start()
        other.join()
        burn(BURNT)
        return Stream()

    measured = Middleware(application)
    answered = Answered(measured)
    for _ in iter(answered.body):  # asked for its iterator twice
        burn(5 * BURNT)  # the server's own work
    answered.close()
    figures = only(measured)
    assert 3 * BURNT <= figures.cpu_seconds.sum < 5 * BURNT
    assert figures.seconds.sum > 8 * BURNT


def test_a_stream_that_changes_threads_is_billed_for_each() -> None:
    """A server may call, iterate and close in different threads."""
    measured = Middleware(streamed)
    answered = Answered(measured)
    thread = threading.Thread(target=answered.read)
    thread.start()
    thread.join()
    assert BURNT <= only(measured).cpu_seconds.sum < 3 * BURNT


class BoomError(Exception):
    pass


def raising(environ: Any, start_response: Any) -> Iterable[bytes]:
    raise BoomError


def raising_first(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    raise BoomError
    yield b"never"


class RaisingInstead:
    def __iter__(self) -> Iterator[bytes]:
        raise BoomError


def raising_instead(environ: Any, start_response: Any) -> RaisingInstead:
    start_response("200 OK", [])
    return RaisingInstead()


def raising_after_write(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])(b"sent")
    raise BoomError


def beginning_anew_too_late(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])(b"sent")
    try:
        raise BoomError
    except BoomError:
        start_response("500 Internal Server Error", [], sys.exc_info())
    return []


def raising_later(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"sent"
    raise BoomError


@pytest.mark.parametrize(
    ("application", "status"),
    [
        (raising, "5xx"),
        (raising_first, "5xx"),
        (raising_instead, "5xx"),
        (raising_later, "2xx"),
        (raising_after_write, "2xx"),
        (beginning_anew_too_late, "2xx"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_exception_goes_on_to_the_server_and_is_counted(application: Any, status: str) -> None:
    """With the status that a client gets: a server makes a 500 of what raised before anything was sent."""
    measured = Middleware(application)
    with pytest.raises(BoomError):
        Answered(measured).read()
    figures = only(measured)
    assert (status, 1, 1) == (figures.status, figures.exceptions, figures.seconds.count)


def test_exc_info_is_handed_on_unchanged() -> None:
    """An application that begins its answer anew gives start_response() the very exception."""
    seen: list[Any] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise BoomError
        except BoomError:
            seen.append(sys.exc_info())
            start_response("500 Internal Server Error", [], exc_info=seen[0])
        return [b""]

    measured = Middleware(application)
    answered = Answered(measured)
    assert answered.started[1][2] is seen[0]
    assert "5xx" == only(measured).status


@pytest.mark.parametrize("is_read", [True, False])
def test_close_is_called_once_and_what_it_raises_goes_on(is_read: bool) -> None:
    """Also where the client left before anything was read."""

    class Closing(list[bytes]):
        closed = 0

        def close(self) -> None:
            self.closed += 1
            raise BoomError

    returned = Closing([b"x"])
    measured = Middleware(lambda environ, start_response: (start_response("200 OK", []), returned)[1])
    answered = Answered(measured)
    if is_read:
        assert b"x" == b"".join(answered.body)
    with pytest.raises(BoomError):
        answered.close()
    assert (1, 1) == (returned.closed, only(measured).exceptions)


def test_a_body_that_nobody_closes_is_counted_when_it_is_gone() -> None:
    """Something outside threw the response away."""
    measured = Middleware(streamed)
    answered = Answered(measured)
    assert [] == measured.stats()
    del answered.body
    gc.collect()
    assert 1 == only(measured).seconds.count


@pytest.mark.parametrize(
    ("method", "status", "labels"),
    [
        ("HEAD", "204 No Content", ("HEAD", "2xx")),
        ("POST", "404 Not Found", ("POST", "4xx")),
        ("BREW", "418 I'm a teapot", ("other", "4xx")),
        ("GET", "777 Lucky", ("GET", "other")),
        ("GET", None, ("GET", "none")),
    ],
)
def test_method_and_status_are_labels_with_few_values(method: str, status: str | None, labels: tuple[str, str]) -> None:
    """An application that takes the socket for itself never begins an answer."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if status is not None:
            start_response(status, [])
        return []

    measured = Middleware(application)
    assert b"" == Answered(measured, method=method).read()
    assert labels == (only(measured).method, only(measured).status)


def test_the_raw_path_is_no_label() -> None:
    """Whatever clients ask for, there is one series."""
    measured = Middleware(hello)
    for number in range(10):
        Answered(measured, path=f"/{number}")
    assert ("all", 10) == (only(measured).route, only(measured).seconds.count)


def test_routes_without_end_come_to_an_end_and_no_request_is_lost() -> None:
    """What finds no place of its own is counted together."""
    measured = Middleware(hello, route=lambda environ: environ["PATH_INFO"], memory=False)
    for number in range(1000):
        Answered(measured, path=f"/{number}")
    figures = measured.stats()
    assert 256 == len(figures)
    assert 1000 == sum(each.seconds.count for each in figures)
    assert 745 == next(each.seconds.count for each in figures if each.route == "other")


@pytest.mark.parametrize("answer", [None, "", 7, BoomError], ids=repr)
def test_a_route_that_cannot_be_told_is_other_and_the_request_goes_on(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that raises, or returns no text, is counted and logged once."""

    def route(environ: Any) -> Any:
        if answer is BoomError:
            raise BoomError
        return answer

    measured = Middleware(hello, route=route)
    for _ in range(2):
        assert b"hello" == Answered(measured).read()
    assert ("other", 2) == (only(measured).route, only(measured).seconds.count)
    faults = 2 if answer in (7, BoomError) else 0
    assert f"heflwr_http_measuring_faults_total {faults}.0" in measured.exposition()
    assert bool(faults) == len([record for record in caplog.records if "measuring a request" in record.message])


def test_flask_s_rule_is_the_route() -> None:
    """Not the path; what matched no rule is "other"."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("app")
    app.add_url_rule("/items/<int:number>", view_func=lambda number: str(number), endpoint="item")
    app.wsgi_app = measured = Middleware(app.wsgi_app, route=flask_route)
    client = app.test_client()
    for path in ("/items/1", "/items/2", "/nothing"):
        client.get(path).close()
    assert {("/items/<int:number>", "2xx"): 2, ("other", "4xx"): 1} == {
        (each.route, each.status): each.seconds.count for each in measured.stats()
    }


DJANGO = """
import django.conf, django.http, django.urls
from django.core.wsgi import get_wsgi_application
from django.test import RequestFactory

def item(request, number):
    return django.http.StreamingHttpResponse(iter(["one", str(number)]))

urlpatterns = [django.urls.path("items/<int:number>/", item)]
django.conf.settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])

from heflwr.monitor.wsgi import Middleware

def route(environ):
    try:
        return django.urls.resolve(environ["PATH_INFO"]).route
    except django.urls.Resolver404:
        return None

measured = Middleware(get_wsgi_application(), route=route)
left_open = measured(RequestFactory().get("/nothing").environ, lambda *started: None)
for path in ("/items/1/", "/items/2/", "/nothing"):
    body = measured(RequestFactory().get(path).environ, lambda *started: None)
    b"".join(body)
    body.close()
print([(each.route, each.status, each.seconds.count) for each in measured.stats()])
"""


def test_django_s_pattern_can_be_the_route(tmp_path: Path) -> None:
    """As docs/ml_service.md has it; a response that is open when the process ends makes no noise."""
    pytest.importorskip("django")
    assert f"{[('items/<int:number>/', '2xx', 2), ('other', '4xx', 1)]}\n" == run_script(DJANGO, tmp_path)


def test_memory_that_a_request_took_and_gave_back_is_seen() -> None:
    """Alone in its process, it knows what it rose by; the next one, which takes nothing, does not inherit it."""
    sizes = iter((64 * MIB, 0))

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        bytearray(os.urandom(1) * next(sizes))
        return [b""]

    measured = Middleware(application, route=lambda environ: environ["PATH_INFO"])
    for path in ("/large", "/small"):
        Answered(measured, path=path)
    large, small = measured.stats()
    assert 60 * MIB < large.memory_rise_bytes.sum < 140 * MIB
    assert small.memory_rise_bytes.sum < 8 * MIB
    assert large.memory_peak_bytes is not None
    assert small.memory_peak_bytes is not None
    assert large.memory_peak_bytes > small.memory_peak_bytes + 50 * MIB


def one_chunk(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    return iter([b"x"])


def test_requests_that_overlap_know_the_peak_and_not_whose_it_was() -> None:
    """Also a peak from before the last of them began, at another application of the process."""
    measured, other = Middleware(one_chunk), Middleware(one_chunk)
    first = Answered(measured)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    bytearray(os.urandom(1) * (64 * MIB))
    second = Answered(other)
    second.read()
    first.read()
    peaks = [only(each).memory_peak_bytes or 0 for each in (measured, other)]
    assert peaks[0] > resident + 60 * MIB > peaks[1]
    assert [(1, 0)] * 2 == [
        (only(each).seconds.count, only(each).memory_rise_bytes.count) for each in (measured, other)
    ]


def test_without_memory_the_rest_is_measured() -> None:
    """As where the kernel does not tell."""
    measured = Middleware(hello, memory=False)
    Answered(measured)
    assert (None, 0, 1) == (
        only(measured).memory_peak_bytes,
        only(measured).memory_rise_bytes.count,
        only(measured).seconds.count,
    )
    assert "memory" not in measured.exposition()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"application": "hello"}, "application must be a WSGI application, got 'hello'"),
        ({"route": "/items"}, "route must be a function of a request's environ, got '/items'"),
        ({"metrics_path": "metrics"}, "metrics_path must begin with a slash, got 'metrics'"),
        ({"directory": "/nowhere"}, "directory must exist and be writable, got '/nowhere'"),
        ({"memory": "yes"}, "memory must be True or False, got 'yes'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused_at_the_door(arguments: dict[str, Any], message: str) -> None:
    """With the value and what is allowed."""
    with pytest.raises((TypeError, ValueError), match=message):
        Middleware(**{"application": hello, **arguments})


def test_the_page_of_metrics_is_what_prometheus_reads() -> None:
    """In both formats; it is not counted itself, and other paths are the application's."""
    measured = Middleware(hello, metrics_path="/metrics", route=lambda environ: 'a"b\\c\n\ud800é')
    assert b"hello" == Answered(measured).read()
    for accept, families in (
        ("text/plain", text_string_to_metric_families),
        ("application/openmetrics-text", openmetrics_families),
    ):
        page = Answered(measured, "/metrics", HTTP_ACCEPT=accept).read().decode()
        found = {family.name: family for family in families(page)}
        duration = found["heflwr_http_request_duration_seconds"]
        labels = {"method": "GET", "route": 'a"b\\c\n?é', "status": "2xx"}
        assert "histogram" == duration.type
        buckets = [sample for sample in duration.samples if sample.name.endswith("_bucket")]
        assert [{**labels, "le": "+Inf"}, 1.0] == [buckets[-1].labels, buckets[-1].value]
        assert [1.0] == [sample.value for sample in duration.samples if sample.name.endswith("_count")]
        assert only(measured).seconds.sum == next(s.value for s in duration.samples if s.name.endswith("_sum"))
        assert {"heflwr_http_request_cpu_seconds", "heflwr_http_request_exceptions"} <= found.keys()
    assert b"" == Answered(measured, "/metrics", "HEAD").read()
    refused = Answered(measured, "/metrics", "POST")
    assert ("405 Method Not Allowed", b"use GET or HEAD\n") == (refused.started[0][0], refused.read())
    assert 1 == only(measured).seconds.count


def test_processes_that_cannot_know_of_each_other_refuse_to_tell() -> None:
    """A scrape would meet any one of them, and counters would jump; requests are served all the same."""
    measured = Middleware(hello, metrics_path="/metrics")
    assert b"hello" == Answered(measured, **{"wsgi.multiprocess": True}).read()
    page = Answered(measured, "/metrics", **{"wsgi.multiprocess": True})
    assert "500 Internal Server Error" == page.started[0][0]
    assert b"directory=" in page.read()
    with pytest.raises(MonitorError, match="directory="):
        measured.exposition()
    assert 1 == only(measured).seconds.count


def test_a_directory_that_is_lost_costs_no_request(tmp_path: Path) -> None:
    """What this process has counted is still told, and that something is wrong."""
    folder = tmp_path / "figures"
    folder.mkdir()
    measured = Middleware(hello, directory=folder)
    folder.rmdir()
    assert b"hello" == Answered(measured).read()
    assert 1 == only(measured).seconds.count
    assert "heflwr_http_measuring_faults_total 1.0" in measured.exposition()
    folder.mkdir()
    Answered(measured, **{"wsgi.multiprocess": True})
    with pytest.raises(MonitorError, match="did not take this process's figures"):  # another process would tell others
        measured.exposition()


def test_figures_that_were_removed_under_the_process_are_not_told_without_a_word(tmp_path: Path) -> None:
    """What it counts from then on would be in no page; requests go on."""
    measured = Middleware(hello, directory=tmp_path)
    Answered(measured)
    (file,) = tmp_path.iterdir()
    file.unlink()
    for is_another_there in (False, True):
        if is_another_there:
            Answered(Middleware(hello, directory=tmp_path))
        assert b"hello" == Answered(measured).read()
        with pytest.raises(OSError, match=r"requests-0\.figures was removed"):
            measured.stats()


def test_a_file_that_a_full_disk_left_unfinished_is_taken(tmp_path: Path) -> None:
    """As soon as there is space."""
    (tmp_path / "requests-0.figures").write_bytes(bytes(5000))
    measured = Middleware(hello, directory=tmp_path)
    Answered(measured)
    assert (1, 1) == (only(measured).seconds.count, len(list(tmp_path.iterdir())))


FOREIGN = """
import os, sys, tempfile
from heflwr.monitor.wsgi import Middleware

def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def get(measured, path):
    return b"".join(measured({"REQUEST_METHOD": "GET", "PATH_INFO": path}, lambda *started: None)).decode()

with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o777)
    get(first := Middleware(hello, metrics_path="/metrics", directory=folder), "/metrics")
    second = Middleware(hello, metrics_path="/metrics", directory=folder)
    os.chmod(f"{folder}/requests-0.figures", 0)
    if os.fork() == 0:
        if os.getuid() == 0:
            os.setuid(65534)
        print(get(second, "/"), sorted(os.listdir(folder)))
        print(get(second, "/metrics").replace(folder, "DIR"), end="")
        try:
            Middleware(hello, directory=folder)
        except ValueError as error:
            print(str(error).replace(folder, "DIR"))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def test_another_user_s_figures_are_named(tmp_path: Path) -> None:
    """By the constructor, or where it came later by the page; requests are counted in the next file meanwhile."""
    assert [
        "hello ['requests-0.figures', 'requests-1.figures']",
        "[Errno 13] Permission denied: 'DIR/requests-0.figures'",
        "directory must be one user's, got 'DIR' with requests-0.figures; remove that file",
    ] == run_script(FOREIGN, tmp_path).splitlines()


def test_a_file_that_is_not_ours_or_damaged_is_left_alone(tmp_path: Path) -> None:
    """The next one is taken, and the figures in the others are told."""
    first = Middleware(hello, directory=tmp_path)
    Answered(first)
    (written,) = tmp_path.iterdir()
    damaged = bytearray(written.read_bytes())
    damaged[26:30] = b"!!!!"
    (tmp_path / "requests-1.figures").write_bytes(damaged)
    (tmp_path / "requests-2.figures").write_bytes(b"somebody else's")
    (tmp_path / "requests-3.figures").write_bytes(b"heflwr wsgi 0".ljust(len(damaged), b"\0"))  # an older layout
    second = Middleware(hello, directory=tmp_path)
    Answered(second)
    assert 2 == only(second).seconds.count
    assert (tmp_path / "requests-4.figures").exists()
    assert damaged == (tmp_path / "requests-1.figures").read_bytes()


def test_many_threads_lose_no_request() -> None:
    """Counts and sums are exact."""
    measured = Middleware(streamed_quickly)
    threads = [
        threading.Thread(target=lambda: [Answered(measured).read() for _ in range(200)], name=f"client {number}")
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1600 == only(measured).seconds.count


def streamed_quickly(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    time.sleep(0)  # let the others in
    yield b"x"


FORKING = """
import os
from heflwr.monitor.wsgi import Middleware

def application(environ, start_response):
    os.fork()
    start_response("200 OK", [])
    return iter([b"x"])

parent = os.getpid()
measured = Middleware(application, directory=".")
body = measured({"REQUEST_METHOD": "GET"}, lambda *started: None)
list(body)
body.close()
if os.getpid() != parent:
    os._exit(0)
os.wait()
print([each.seconds.count for each in measured.stats()])
"""


def test_a_request_that_forks_is_counted_once(tmp_path: Path) -> None:
    """By the process in which it began."""
    assert "[1]\n" == run_script(FORKING, tmp_path)


DAEMON = """
import os, socket
from heflwr.monitor.wsgi import Middleware

stay, leave = os.pipe()
hear, tell = os.pipe()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/fork":
        if os.fork() == 0:
            os.close(leave)
            os.write(tell, b"!")
            os.read(stay, 1)  # lives until the main process ends
            os._exit(0)
        os.read(hear, 1)
    start_response("200 OK", [])
    return [b""]

def ask(path="/"):
    measured({"REQUEST_METHOD": "GET", "PATH_INFO": path}, lambda *started: None)

measured = Middleware(application, directory=".")
if os.fork() == 0:
    ask("/fork")
    os._exit(0)
os.wait()
ask()
print(sorted(os.listdir(".")))
if os.fork() == 0:
    os.closerange(3, 64)
    mine = [socket.socket() for _ in range(4)]
    ask()
    for each in mine:
        each.getsockname()
    print("mine", flush=True)
    os._exit(0)
os.wait()
"""


def test_a_fork_keeps_nothing_of_its_parent_and_closes_nothing_of_its_own(tmp_path: Path) -> None:
    """What a dead worker's request left running has not its file; a daemon that closed everything may open its own."""
    assert ["['requests-0.figures']", "mine"] == run_script(DAEMON, tmp_path).splitlines()


def test_requests_that_end_by_garbage_collection_are_counted_once_each() -> None:
    """Also amidst the counting of another one: collected after one object, after two, and so on."""
    measured = Middleware(one_chunk, route=lambda environ: environ["PATH_INFO"], memory=False)
    thresholds = gc.get_threshold()
    gc.freeze()  # what else there is need not be looked at each time
    try:
        for number in range(1, 101):
            gc.collect()
            gc.disable()
            forgotten = Answered(measured, f"/forgotten/{number}")
            forgotten.environ["cycle"] = forgotten
            ended = Answered(measured, f"/{number}")
            del forgotten
            gc.set_threshold(gc.get_count()[0] + number)
            gc.enable()
            ended.close()
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
        gc.unfreeze()
    gc.collect()
    assert [1] * 200 == [each.seconds.count for each in measured.stats()]


def test_the_example_in_the_docstring_runs() -> None:
    """And prints what it says."""
    result = doctest.testmod(heflwr.monitor.wsgi.middleware)
    assert (True, 0) == (result.attempted > 0, result.failed)


def test_the_benchmark_runs() -> None:
    """Its figures mean nothing here."""
    command = [sys.executable, "-m", "benchmarks.wsgi", "--smoke"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (0, "") == (result.returncode, result.stderr)
    assert ["listed", "streamed"] == re.findall(r"^\| (\w+) \| little", result.stdout, re.MULTILINE)
