"""heflwr.log: a console on import, a file and a collector by configure(), and never a reason to wait."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from servers import FaultyServer, collector, reply
from waiting import wait_for

from heflwr.log import _http as http_module
from heflwr.log import configure, log, logger


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Each test begins and ends with nothing but the console."""
    configure("test")
    yield
    configure("test")


def http_handler() -> Any:
    (found,) = (handler for handler in logger.handlers if isinstance(handler, http_module.HttpHandler))
    return found


def take(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Answer as a collector does that stored every line."""
    reply(handler, 200, json.dumps({"accepted": len(json.loads(body)["lines"]), "duplicates": 0}).encode())


def messages(bodies: list[tuple[str, dict[str, str], bytes]]) -> list[str]:
    return [line["message"] for _, _, body in bodies for line in json.loads(body)["lines"]]


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **environment},
    )


def test_importing_gives_a_console_on_stdout() -> None:
    """One handler, INFO and above, the caller's file and line; importing again adds none."""
    ended = python(
        """
        import importlib, logging, sys
        import heflwr.log
        from heflwr.log import log, logger
        importlib.reload(sys.modules["heflwr.log._configure"])
        importlib.reload(heflwr.log)
        logger.debug("too fine"); logger.info("epoch %d", 3); log(logging.WARNING, "slow %s", "disk")
        assert logger.name == "heflwr" and len(logger.handlers) == 1
        assert not {"requests", "flask", "heflwr.monitor", "urllib.request"} & set(sys.modules), sys.modules
        """
    )
    lines = ended.stdout.splitlines()
    assert [line.rpartition(" | ")[2] for line in lines] == ["epoch 3", "slow disk"]
    assert lines[0].startswith("INFO heflwr 20")
    assert "<string>:7 | " in lines[0]
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("100 % {x} %(message)s %s", "100 % {x} %(message)s %s"),
        ("two\nlines\t\x1b[31m", "two\\nlines\\t\\x1b[31m"),
        ("küche 中🌡", "küche 中🌡"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_any_identifier_is_a_prefix_of_each_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], identifier: str, shown: str
) -> None:
    """Whatever its characters, it stands in front of the line, on the console and in the file, and breaks nothing."""
    configure(identifier, file=tmp_path / "log.txt")
    log(logging.INFO, "done: %s", "100 %")
    console = capsys.readouterr().out
    assert console.startswith(f"{shown} | INFO heflwr ")
    assert console.endswith("| done: 100 %\n")
    assert (tmp_path / "log.txt").read_text("utf-8") == console


def test_configure_replaces_what_it_set_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Handlers never stack, former files are closed, and handlers of the user stay."""
    own = logging.NullHandler()
    logger.addHandler(own)
    try:
        with FaultyServer(take) as server:
            for number in range(3):
                configure(f"id{number}", file=tmp_path / f"{number}.txt", host=server.address)
                logger.info("line %d", number)
            former = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
            configure("last")
        assert own in logger.handlers
        assert len(logger.handlers) == 2
        assert all(handler.stream is None for handler in former)
    finally:
        logger.removeHandler(own)
    logger.info("line 3")
    for number in range(3):
        (line,) = (tmp_path / f"{number}.txt").read_text().splitlines()
        assert line.endswith(f"| line {number}")
    assert [line[:4] for line in capsys.readouterr().out.splitlines()] == ["id0 ", "id1 ", "id2 ", "last"]
    assert [json.loads(body)["identifier"] for _, _, body in server.requests] == ["id0", "id1", "id2"]


def test_simple_without_host_warns() -> None:
    """It says how to send, but not where."""
    with pytest.warns(UserWarning, match="no host to send to"):
        configure("a", simple=True)
    with pytest.warns(UserWarning, match="no host to send to"):
        configure("a", simple=False)


@pytest.mark.parametrize("simple", [True, False, None])
def test_lines_arrive_at_the_collector(tmp_path: Path, simple: bool | None) -> None:
    """/simple_log gets identifier, time and message; /log also who, where and the traceback."""
    with collector(tmp_path / "heflwr.db", token="s3cret") as collected:
        configure("client\n%s é", host=collected.address, simple=simple, token="s3cret")
        before = time.time()
        logger.info("epoch %d of %s", 3, "é中")
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logger.exception("oops")
        first, second = wait_for(lambda: len(collected.lines()) == 2 and collected.lines())
    assert (first["identifier"], first["message"]) == ("client\n%s é", "epoch 3 of é中")
    assert before <= first["time"] <= second["time"] <= time.time()
    if simple:
        assert first["fields"] == {}
    else:
        fields = first["fields"]
        assert (fields["level"], fields["logger"], fields["pid"]) == ("INFO", "heflwr", os.getpid())
        assert fields["file"] == __file__
        assert fields["function"] == "test_lines_arrive_at_the_collector"
        assert "ZeroDivisionError" in second["fields"]["exception"]


def test_lines_wait_for_a_collector_that_fails(tmp_path: Path) -> None:
    """What could not be sent is sent again, in order, and each line is stored once."""
    with collector(tmp_path / "heflwr.db") as collected:
        failed = 0

        def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
            nonlocal failed
            failed += 1
            if failed <= 2:
                reply(handler, 500)
                return
            import urllib.request

            url, headers = f"{collected.url}{handler.path}", {"Content-Type": handler.headers["Content-Type"]}
            with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
                reply(handler, response.status, response.read())

        with FaultyServer(answer) as server:
            configure("a", host=server.address)
            for number in range(120):
                logger.info("line %d", number)
            wait_for(lambda: len(collected.lines()) == 120)
            assert http_handler().dropped == 0
            configure("a")
        assert [line["message"] for line in collected.lines()] == [f"line {number}" for number in range(120)]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b"<html>log in</html>"),
        (200, b""),
        (200, b'{"accepted": 0, "duplicates": 0}'),
        (200, b'{"accepted": "1"}'),
        (200, b"[" * 60_000),
        (204, b""),
    ],
    ids=["a login page", "nothing", "half a receipt", "a strange receipt", "nested", "no content"],
)
def test_only_a_collectors_receipt_counts_as_delivered(
    status: int, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything else that answers 2xx is no collector: the lines stay, and go out again."""
    monkeypatch.setattr(http_module, "PAUSE_SECONDS", (0.01, 0.05))
    mended = False

    def misunderstand(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if mended:
            take(handler, body)
        else:
            reply(handler, status, answer)

    with FaultyServer(misunderstand) as server:
        configure("a", host=server.address)
        handler = http_handler()
        logger.info("hello")
        wait_for(lambda: len(server.requests) >= 2)
        mended = True
        before = len(server.requests)
        wait_for(lambda: len(server.requests) > before)
        configure("a")
        assert set(messages(server.requests)) == {"hello"}
        assert handler.dropped == 0


def test_lines_that_no_collector_took_are_counted_at_the_end() -> None:
    """A stranger that says 200 to everything does not hide the loss."""
    with FaultyServer(lambda handler, body: reply(handler, 200, b"welcome")) as server:
        configure("a", host=server.address)
        handler = http_handler()
        logger.info("hello")
        configure("a")
        assert handler.dropped == 1


def test_retry_after_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that asks for two seconds is left alone for two seconds."""
    monkeypatch.setattr(http_module, "PAUSE_SECONDS", (0.01, 0.05))
    times: list[float] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            reply(handler, 503, b"", Retry_After="2")
        else:
            take(handler, body)

    with FaultyServer(answer) as server:
        configure("a", host=server.address)
        logger.info("hello")
        wait_for(lambda: len(times) == 2)
        configure("a")
    assert times[1] - times[0] >= 1.9


@pytest.mark.parametrize("asked", ["86400", "9" * 400, "soon", "-5", "Wed, 21 Oct 2099 07:28:00 GMT", "\u00b2"])
def test_retry_after_has_a_bound(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody silences a client for a day, and what is no number of seconds is no wish."""
    monkeypatch.setattr(http_module, "PAUSE_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(http_module, "RETRY_AFTER_SECONDS", 0.05)

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if len(server.requests) == 1:
            reply(handler, 503, b"", Retry_After=asked)
        else:
            take(handler, body)

    with FaultyServer(answer) as server:
        configure("a", host=server.address)
        logger.info("hello")
        wait_for(lambda: len(server.requests) == 2)
        configure("a")
        assert len(server.requests) == 2


def test_every_line_is_either_delivered_or_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads log into a queue that is always full, while the sender empties it: no line is lost without a count."""
    monkeypatch.setattr(http_module, "QUEUE_LINES", 60)
    count, loggers = 1500, 4

    def log_many(name: int) -> None:
        for number in range(count):
            logger.info("line %d-%d", name, number)

    monkeypatch.setattr(logger, "propagate", False)
    with FaultyServer(take) as server:
        configure("a", host=server.address)
        handler = http_handler()
        threads = [threading.Thread(target=log_many, args=(name,)) for name in range(loggers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        configure("a")
        delivered = messages(server.requests)
    assert len(set(delivered)) == len(delivered)
    assert len(delivered) + handler.dropped == count * loggers
    assert handler.dropped > 0


def test_logging_never_waits_for_a_server_that_hangs() -> None:
    """A thousand lines to a server that never answers take no longer than without it."""
    with FaultyServer() as server:
        configure("a", host=server.address, timeout=600)
        logger.info("first")
        wait_for(lambda: server.requests)
        began = time.monotonic()
        for number in range(1000):
            logger.info("line %d", number)
        assert time.monotonic() - began < 5  # a request each would wait for ever
        handler = http_handler()
        began = time.monotonic()
        configure("a")
        assert time.monotonic() - began < 10
        assert handler.dropped == 1001


def test_the_queue_is_bounded_and_drops_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody takes them, the newest lines are kept."""
    monkeypatch.setattr(http_module, "QUEUE_LINES", 100)
    with FaultyServer() as server:
        configure("a", host=server.address)
        for number in range(500):
            logger.info("line %d", number)
        assert http_handler().dropped == 400


@pytest.mark.parametrize("status", [400, 413])
def test_lines_refused_for_good_are_counted(status: int) -> None:
    """They are not sent for ever."""
    with FaultyServer(lambda handler, body: reply(handler, status)) as server:
        configure("a", host=server.address)
        logger.info("x")
        handler = http_handler()
        wait_for(lambda: handler.dropped == 1)
        configure("a")
        assert len(server.requests) == 1
        assert handler.dropped == 1


def test_an_unreachable_collector_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is raised and nothing printed but the line itself."""
    configure("a", host="127.0.0.1:1")
    logger.info("x")
    configure("b")
    printed = capsys.readouterr()
    assert printed.out.endswith("| x\n")
    assert printed.err == ""


def test_the_last_lines_are_sent_at_exit(tmp_path: Path) -> None:
    """A script that ends right after its last line has it delivered; one whose server hangs still ends."""
    script = """
        import sys
        from heflwr.log import configure, logger
        configure("script", host=sys.argv[1] if len(sys.argv) > 1 else {host!r})
        logger.info("good bye")
    """
    with collector(tmp_path / "heflwr.db") as collected:
        python(script.format(host=collected.address))
        assert [line["message"] for line in collected.lines()] == ["good bye"]
    with FaultyServer() as server:
        began = time.monotonic()
        python(script.format(host=server.address))
        assert time.monotonic() - began < 20
        assert len(server.requests) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_sends_its_own_lines(tmp_path: Path) -> None:
    """The child's lines arrive under a run of their own, the parent's only once."""
    with collector(tmp_path / "heflwr.db") as collected:
        python(
            f"""
            import os, warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # that threads exist is what is tested
            from heflwr.log import configure, logger
            configure("forking", host={collected.address!r})
            logger.info("parent")
            if (child := os.fork()) == 0:
                logger.info("child")
                raise SystemExit
            os.waitpid(child, 0)
            """
        )
        assert sorted(line["message"] for line in collected.lines()) == ["child", "parent"]


def test_a_message_that_does_not_fit_its_arguments_is_logged_as_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logging's own report of the mistake appears, and nothing is raised."""
    monkeypatch.setattr(logger, "propagate", False)  # pytest's own handler raises
    with FaultyServer(take) as server:
        configure("a", host=server.address)
        logger.info("%d", "text")
        assert "Logging error" in capsys.readouterr().err
        assert http_handler().dropped == 1


def test_https_needs_the_authority(tmp_path: Path) -> None:
    """With verify= a file, lines arrive over TLS; without it they do not leave."""
    from programs import need

    command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", "server.key", "-out", "server.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with collector(tmp_path / "heflwr.db", tls=tls) as collected:
        configure("distrustful", host=collected.url)
        logger.info("secret")
        handler = http_handler()
        configure("trusting", host=collected.url, verify=os.fspath(tmp_path / "server.pem"))
        logger.info("hello")
        configure("careless", host=collected.url, verify=False)
        logger.info("again")
        configure("a")
        assert [line["message"] for line in collected.lines()] == ["hello", "again"]
        assert handler.dropped == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"identifier": 5}, TypeError, "identifier must be a string"),
        ({"identifier": ""}, ValueError, "1 to 256 characters"),
        ({"host": "localhost"}, ValueError, "has no port"),
        ({"host": 5}, TypeError, "host must be a string"),
        ({"host": "ftp://x:1"}, ValueError, "host must be an address"),
        ({"host": "a:b"}, ValueError, "host must be an address"),
        ({"host": "http://u:p@a:1"}, ValueError, "give a secret as token="),
        ({"host": "a:1", "token": "a b"}, ValueError, "token must be visible ASCII"),
        ({"host": "a:1", "token": 5}, TypeError, "token must be a string"),
        ({"host": "a:1", "timeout": 0}, ValueError, "timeout must be > 0"),
        ({"host": "a:1", "timeout": "x"}, TypeError, "timeout must be a number"),
        ({"host": "https://a:1", "verify": "missing.pem"}, OSError, "No such file"),
        ({"file": "missing/log.txt"}, OSError, "No such file"),
    ],
)
def test_a_wrong_argument_leaves_everything_as_it_was(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """It is raised with the reason, and the earlier configuration stays."""
    before = list(logger.handlers)
    with pytest.raises(error, match=text):
        configure(**{"identifier": "x", **arguments})
    assert logger.handlers == before


def test_the_console_follows_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Notebooks and redirections change sys.stdout after the import."""
    import io

    elsewhere = io.StringIO()
    with contextlib.redirect_stdout(elsewhere):
        logger.info("here")
    assert elsewhere.getvalue().endswith("| here\n")
    assert capsys.readouterr().out == ""
