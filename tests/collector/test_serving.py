"""The server: TLS, many connections, clients that dawdle, streams, settings, and what kill -9 leaves."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import need
from servers import CollectorProcess, free_port, get, post
from waiting import wait_for

from heflwr.collector import Store, serving
from heflwr.collector.peers import Peers
from heflwr.collector.room import FILES_KEPT
from heflwr.collector.serving import Server
from heflwr.collector.settings import SettingError, read_settings
from heflwr.monitor.thread_monitor import RemoteMonitor


@contextlib.contextmanager
def served(application: Any, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    server = Server(application, host="127.0.0.1", port=0, tls=tls, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.listening[0][1]
    finally:
        server.stop()
        thread.join()
        server.finish()
        assert server.peers.held == 0  # every connection was counted out once, however it ended


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body))), ("X-Scheme", environ["wsgi.url_scheme"])])
    return [body]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("certificate")
    cert, key = home / "cert.pem", home / "key.pem"
    subprocess.run(
        [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-out", cert, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_large_bodies_pass_over_tls_on_one_connection(tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    """Both ways, again and again, byte for byte; the application knows that it is https."""
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with served(echo, tls) as port:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=30)
        for size in (0, 1, 20_000, 1_500_000, 100_000):
            body = os.urandom(size)
            connection.request("POST", "/", body)
            answer = connection.getresponse()
            assert answer.headers["X-Scheme"] == "https"
            assert answer.read() == body
        connection.close()


def test_who_does_not_speak_tls_disturbs_nobody(tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    """Silent connections, plain HTTP and noise hold up no one else."""
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with served(echo, tls) as port, contextlib.ExitStack() as stack:
        for noise in [b""] * 40 + [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", os.urandom(100)] * 5:
            other = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            other.sendall(noise)
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=30)
        connection.request("POST", "/", b"x")
        assert connection.getresponse().read() == b"x"
        connection.close()


def test_clients_that_dawdle_hold_up_nobody() -> None:
    """More half-sent requests than the server has threads, and the next one is answered."""
    with served(echo) as port, contextlib.ExitStack() as stack:
        for _ in range(100):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for _ in range(3):
            connection.request("POST", "/", b"x")
            assert connection.getresponse().read() == b"x"
        connection.close()


def test_many_connections_are_kept() -> None:
    """Each of two hundred connections is answered three times."""
    with served(echo) as port:
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(200)]
        for turn in range(3):
            for number, connection in enumerate(connections):
                body = f"{turn} {number}".encode()
                connection.request("POST", "/", body)
                assert connection.getresponse().read() == body
        for connection in connections:
            connection.close()


def test_what_the_application_never_sees_is_counted(tmp_path: Path) -> None:
    with CollectorProcess(tmp_path / "heflwr.db") as running:
        host, _, port = running.address.rpartition(":")
        with socket.create_connection((host, int(port)), 30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost x\r\n\r\n")
            assert connection.recv(12)[8:] == b" 400"
        assert 'heflwr_collector_requests_refused_total{reason="http"} 1.0' in get(f"{running.url}/metrics")[1]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_nothing_is_acknowledged_once_the_file_is_gone(tmp_path: Path, is_replaced: bool) -> None:
    """SQLite would go on writing to a file that nobody finds; the sender keeps its samples instead."""
    path = tmp_path / "heflwr.db"
    body = {"identifier": "a", "run": "r", "metrics": ["threads"], "rows": [[0, 1.7e9, 1]]}
    with CollectorProcess(path) as running:
        assert post(f"{running.url}/log", json.dumps(body).encode())[0] == 200
        for file in tmp_path.glob("heflwr.db*"):
            file.unlink()
        if is_replaced:
            Store(path).open()
        more = json.dumps({**body, "rows": [[1, 1.7e9, 1]]}).encode()
        status, answer = post(f"{running.url}/log", more)
        assert status == 503
        assert ("was replaced" if is_replaced else "is gone") in str(answer)
        assert get(f"{running.url}/healthz")[0] == 503


def test_reset_connections_are_counted_out() -> None:
    with served(echo) as port:
        for _ in range(50):
            connection = socket.create_connection(("127.0.0.1", port), 30)
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def test_one_address_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its share its connections are closed unread, and counted; those that end make room."""
    monkeypatch.setattr(serving, "CONNECTIONS_MAX", 40)
    reasons: list[str] = []
    with served(echo, refused=reasons.append) as port, contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(30)]
        more = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
        assert more.recv(1) == b""
        assert reasons == ["connections"]
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=("127.0.0.2", 0))
        for connection in held:
            connection.close()
        for body in (b"x", b"y"):
            other.request("POST", "/", body)
            assert other.getresponse().read() == body
        other.close()
        again = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(30)]
        again[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert again[-1].recv(12) == b"HTTP/1.1 200"
        again[0].sendall(b"nonsense\r\n\r\n")
        assert again[0].recv(12).startswith(b"HTTP/1.")
        assert reasons == ["connections", "http"]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_a_subscriber_has_one_share(one: str, other: str, is_same: bool) -> None:
    """An IPv6 network of 64 bits is one, and an address does not count twice for being written differently."""
    peers = Peers(2, None)
    assert peers.enter(one)
    assert peers.enter(other) is not is_same
    peers.leave(one)
    assert peers.enter(one if is_same else "10.0.0.9")


def test_a_proxy_stands_for_many() -> None:
    peers = Peers(4, "10.0.0.1")
    assert all(peers.enter("10.0.0.1") for _ in range(100))
    assert peers.held == 0
    assert [peers.enter("10.0.0.2") for _ in range(4)] == [True, True, True, False]


def test_requests_sent_before_the_answer_are_answered_in_turn() -> None:
    """Sent at once or while the one before is served; who leaves before the answer holds up nobody."""
    may_answer = threading.Event()

    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        may_answer.wait(20)
        return echo(environ, start_response)

    def request(body: bytes) -> bytes:
        return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    with served(slow) as port, socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(request(b"one") + request(b"two"))
        with socket.create_connection(("127.0.0.1", port), 20) as leaver:
            leaver.sendall(request(b"gone"))
        connection.sendall(request(b"three"))
        connection.sendall(request(b"four" * 300_000))
        may_answer.set()
        answers = connection.makefile("rb")
        for body in (b"one", b"two", b"three", b"four" * 300_000):
            head = b"".join(iter(answers.readline, b"\r\n"))
            assert head.startswith(b"HTTP/1.1 200")
            assert f"Content-Length: {len(body)}".encode() in head
            assert answers.read(len(body)) == body


def test_a_host_that_is_none_is_an_error_in_words(tmp_path: Path) -> None:
    """Exit code 1 and a sentence, no traceback."""
    command = [sys.executable, "-m", "heflwr.collector", "--port", "0", "--database", str(tmp_path / "x.db")]
    ended = subprocess.run([*command, "--host", "300.1.1.1"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "error: cannot listen on 300.1.1.1:0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_serves_https(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """--certfile and --keyfile, from the environment as well."""
    port = free_port()
    command = [sys.executable, "-m", "heflwr.collector", "--port", str(port), "--certfile", str(certificate[0])]
    environment = {**os.environ, "HEFLWR_COLLECTOR_KEYFILE": str(certificate[1])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"heflwr collector on https://127.0.0.1:{port}")
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port, context=ssl.create_default_context(cafile=str(certificate[0])), timeout=30
        )
        connection.request("GET", "/healthz")
        assert json.load(connection.getresponse()) == {"status": "ok"}
        connection.close()
        process.terminate()
        assert process.wait(30) == 0


def test_events_arrive_and_the_server_still_ends(tmp_path: Path) -> None:
    """A page hears at once of what was sent; SIGTERM does not wait for pages."""
    with CollectorProcess(tmp_path / "heflwr.db") as running:
        connection = http.client.HTTPConnection(running.address, timeout=30)
        connection.request("GET", "/api/v1/events")
        stream = connection.getresponse()
        assert stream.headers["Content-Type"] == "text/event-stream"
        assert stream.readline().startswith(b"retry:")
        body = {"identifier": "a", "run": "r", "metrics": ["threads"], "rows": [[0, 1.0, 1]]}
        assert post(f"{running.url}/log", json.dumps(body).encode())[0] == 200
        lines = [stream.readline() for _ in range(3)]
        assert lines[1] == b"event: update\n"
        assert json.loads(lines[2].partition(b": ")[2])["clients"] == ["a"]
        assert running.end() == 0
        connection.close()


def test_tokens_of_the_command_work_on_a_running_server(tmp_path: Path) -> None:
    """token add prints one for the only time, list names it, revoke ends it; the server need not be restarted."""
    database = tmp_path / "heflwr.db"

    def token(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "heflwr", "collector", "token", *arguments, "--database", str(database)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    with CollectorProcess(database) as running:
        assert get(f"{running.url}/api/v1/clients")[0] == 200
        reading = token("add", "me", "--read").stdout.strip()
        assert reading.startswith("heflwr_")
        wait_for(lambda: get(f"{running.url}/api/v1/clients")[0] == 401)
        assert get(f"{running.url}/api/v1/clients", token=reading)[0] == 200
        listed = token("list").stdout
        assert ("read" in listed, "me" in listed, reading in listed) == (True, True, False)
        assert token("revoke", "me").returncode == 0
        wait_for(lambda: get(f"{running.url}/api/v1/clients", token=reading)[0] == 401)
        assert token("revoke", "me").returncode == 1


def test_a_token_that_is_replaced_is_said(tmp_path: Path) -> None:
    said = []
    for kind in ((), ("--read",), ()):
        command = [
            sys.executable,
            "-m",
            "heflwr.collector",
            "token",
            "add",
            "a",
            *kind,
            "--database",
            tmp_path / "x.db",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        said.append((done.stdout.startswith("heflwr_"), done.stderr))
    assert said == [(True, ""), (True, ""), (True, "the token that a had is worthless now\n")]


@pytest.mark.parametrize("words", [("list",), ("revoke", "a")])
def test_a_mistyped_database_is_not_made(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "nosuch.db"
    command = [sys.executable, "-m", "heflwr.collector", "token", *words, "--database", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"there is no {path}" in done.stderr
    assert not path.exists()


def test_compact_says_what_it_did(tmp_path: Path) -> None:
    """heflwr collector compact works on a file that nobody serves, and names one that is not there."""
    database = tmp_path / "heflwr.db"
    with Store(database):
        pass
    command = [sys.executable, "-m", "heflwr", "collector", "compact", "--database"]
    done = subprocess.run([*command, str(database)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "bytes before" in done.stdout) == (0, True), done.stderr
    missing = subprocess.run([*command, str(tmp_path / "x")], capture_output=True, text=True, timeout=60, check=False)
    assert (missing.returncode, "there is no" in missing.stderr) == (1, True)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """And the file over the default."""
    path = tmp_path / "collector.toml"
    path.write_text("port = 1\nrate = 5\nlost_seconds = 60.5\n")
    environment = {"HEFLWR_COLLECTOR_PORT": "2", "HEFLWR_COLLECTOR_RATE": "6", "HEFLWR_COLLECTOR_CONFIG": str(path)}
    found = read_settings({"port": "3"}, environment)
    assert (found["port"], found["rate"], found["lost_seconds"], found["host"]) == (3, 6.0, 60.5, "127.0.0.1")


@pytest.mark.parametrize(
    ("flags", "environment", "text", "reason"),
    [
        ({"port": "x"}, {}, "", "--port must be an integer, got 'x'"),
        ({}, {"HEFLWR_COLLECTOR_PORT": "70000"}, "", "HEFLWR_COLLECTOR_PORT must be from 0 to 65535, got 70000"),
        ({}, {}, "port = true", "port in .* must be an integer"),
        ({}, {}, "port = 1.5", "port in .* must be an integer, got 1.5"),
        ({}, {}, "prot = 5", "'prot', which is no setting; choose from host, port"),
        ({}, {}, "port = ", "is not TOML"),
        ({"config": "/nowhere/x.toml"}, {}, "", "cannot read /nowhere/x.toml"),
        ({"raw_days": "nan"}, {}, "", "--raw-days must be from"),
        ({"token": ""}, {}, "", "--token must not be empty"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    tmp_path: Path, flags: dict[str, str], environment: dict[str, str], text: str, reason: str
) -> None:
    """Where it comes from, and what is allowed."""
    path = tmp_path / "collector.toml"
    path.write_text(text)
    with pytest.raises(SettingError, match=reason):
        read_settings({"config": str(path), **flags}, environment)


def test_killed_again_and_again_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    """Real monitors send to a server that is killed four times; in the end each sample is there once."""
    database, port, cycles = tmp_path / "heflwr.db", free_port(), 4
    monitors = [RemoteMonitor(f"127.0.0.1:{port}", interval=0.02, identifier=f"client-{n}") for n in range(3)]
    acknowledged: list[tuple[str, int]] = []
    try:
        for cycle in range(cycles):
            with CollectorProcess(database, port=port) as running:
                if cycle == 0:
                    for monitor in monitors:
                        monitor.start()

                def hammer(address: str = running.address, cycle: int = cycle) -> None:
                    connection = http.client.HTTPConnection(address, timeout=30)
                    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                        for sequence in range(0, 1_000_000, 10):
                            rows = [[sequence + row, 1.7e9 + row, row] for row in range(10)]
                            body = {"identifier": "hammer", "run": f"r{cycle}", "metrics": ["threads"], "rows": rows}
                            connection.request("POST", "/log", json.dumps(body), {"Content-Type": "application/json"})
                            assert json.load(connection.getresponse())["accepted"] == 10
                            acknowledged.extend((f"r{cycle}", sequence + row) for row in range(10))

                before = len(acknowledged)
                thread = threading.Thread(target=hammer)
                thread.start()
                wait_for(lambda before=before: len(acknowledged) >= before + 100)
                running.end(signal.SIGKILL)
                thread.join()
        with CollectorProcess(database, port=port):
            for monitor in monitors:
                monitor.stop()
    finally:
        for monitor in monitors:
            monitor.stop()
    with Store(database) as store:
        found = store.samples(identifier=None, run=None, since=0.0, until=1e10, metrics=(), limit=1_000_000)[0]
    stored = [(sample["identifier"], sample["run"], sample["sequence"]) for sample in found]
    assert len(set(stored)) == len(stored)
    assert {("hammer", *sample) for sample in acknowledged} <= set(stored)
    for number, monitor in enumerate(monitors):
        mine = sorted(sequence for who, _, sequence in stored if who == f"client-{number}")
        assert mine == list(range(len(mine)))
        assert len(mine) == monitor.health.sinks[0]["sent"] > 0


def test_more_connections_than_files_leave_the_database_its_own(tmp_path: Path) -> None:
    """Where a process may open few files, further connections wait, and those before them are served."""
    collector = [sys.executable, "-m", "heflwr.collector", "--port", "0", "--database", str(tmp_path / "heflwr.db")]
    limited = ["sh", "-c", f'ulimit -n {FILES_KEPT + 40}; exec "$@"', "sh", *collector]
    with subprocess.Popen(limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline().split(" (")[0].rpartition(":")[2])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as first:
            first.connect()
            with contextlib.ExitStack() as stack:
                for _ in range(2 * FILES_KEPT):
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
                body = '{"identifier": "c", "run": "r", "metrics": ["threads"], "rows": [[0, 1.7e9, 1]]}'
                for accepted in (1, 0):
                    first.request("POST", "/log", body, {"Content-Type": "application/json"})
                    assert json.load(first.getresponse()) == {"accepted": accepted, "duplicates": 1 - accepted}
        process.terminate()
        assert "Too many open files" not in process.stderr.read()
