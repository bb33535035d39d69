"""At the edge of the server: what a proxy says of its clients, what is refused unread, pages that are closed."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import need
from servers import CollectorProcess, free_port, get
from waiting import wait_for

from heflwr.collector.settings import SettingError, read_settings

TOKEN = "s3cret"
LISTENERS = 2


def serve(home: Path, *arguments: str) -> CollectorProcess:
    options = ("--rate", "1", "--listeners", str(LISTENERS))
    return CollectorProcess(home / "heflwr.db", *options, *arguments, HEFLWR_COLLECTOR_TOKEN=TOKEN)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector that believes whoever connects from this machine, and takes two requests at once from each client."""
    with serve(tmp_path_factory.mktemp("proxied"), "--proxy", "127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def unproxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """The same without a proxy."""
    with serve(tmp_path_factory.mktemp("unproxied")) as running:
        yield running


NGINX = """
daemon off;
pid {home}/pid;
error_log {home}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/bodies;
    proxy_temp_path {home}/answers;
    fastcgi_temp_path {home}/unused;
    uwsgi_temp_path {home}/unused;
    scgi_temp_path {home}/unused;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{collector};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


@pytest.fixture
def nginx(proxied: CollectorProcess, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx in front of the collector, set as the docs say."""
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(home=tmp_path, port=port, collector=proxied.address))
    command = [need("nginx"), "-e", f"{tmp_path}/errors", "-p", f"{tmp_path}", "-c", f"{config}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: process.poll() is not None or is_open(port))
            assert process.poll() is None, (tmp_path / "errors").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(30)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def request(
    running: CollectorProcess, path: str = "/healthz", body: str | None = None, **headers: str
) -> http.client.HTTPResponse:
    host, _, port = running.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, named)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def exchange(running: CollectorProcess, data: bytes) -> tuple[int, str, dict[str, str]]:
    """Return status, content type and JSON of what is answered to some bytes."""
    host, _, port = running.address.rpartition(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.headers["Content-Type"], json.loads(answer.read())


def test_behind_a_proxy_each_client_has_its_own_limit(proxied: CollectorProcess) -> None:
    """The last address in X-Forwarded-For is the proxy's word; what stands before it a client may have made up."""
    greedy = [request(proxied, X_Forwarded_For="10.0.0.1").status for _ in range(8)]
    assert (greedy[0], greedy[-1]) == (200, 429)
    assert request(proxied, X_Forwarded_For="10.0.0.2").status == 200
    assert request(proxied, X_Forwarded_For="10.0.0.3, 10.0.0.1").status == 429


def test_behind_a_real_nginx_each_client_has_its_own_limit_and_hears_events(nginx: int) -> None:
    """What a client says of itself changes nothing; events pass as they come."""

    def status(source: str, forged: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", nginx, timeout=30, source_address=(source, 0))
        connection.request("GET", "/healthz", headers={"X-Forwarded-For": forged})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    assert [status("127.0.0.2", f"10.1.0.{at}") for at in range(8)][-1] == 429
    assert status("127.0.0.3", "127.0.0.2") == 200
    connection = http.client.HTTPConnection("127.0.0.1", nginx, timeout=30)
    connection.request("GET", "/api/v1/events", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    assert (answer.status, answer.readline()) == (200, b"retry: 3000\n")
    answer.close()
    connection.close()


def test_behind_a_proxy_what_clients_send_counts_for_each_as_well(proxied: CollectorProcess) -> None:
    """Samples come in by a door of their own, which knows the proxy, too; a header that makes no sense is a 400."""
    body = json.dumps({"identifier": "a", "run": "r", "metrics": ["threads"], "rows": [[0, 1.0, 1]]})
    more = {"Content-Type": "application/json", "Authorization": "Bearer wrong"}
    for path in ("/log", "/healthz"):
        sent = body if path == "/log" else None
        greedy = [request(proxied, path, sent, X_Forwarded_For=f"10.2.{len(path)}.1", **more).status for _ in range(8)]
        assert (greedy[0], greedy[-1]) == (401 if sent else 200, 429)
        assert request(proxied, path, sent, X_Forwarded_For=f"10.2.{len(path)}.2", **more).status == greedy[0]
        assert request(proxied, path, sent, X_Forwarded_For='"10.2.0.3', **more).status == 400


@pytest.mark.parametrize(("scheme", "is_secure"), [("https", True), ("http", False)])
def test_behind_a_proxy_with_tls_the_cookie_is_for_https(
    proxied: CollectorProcess, scheme: str, is_secure: bool
) -> None:
    """X-Forwarded-Proto tells what the browser spoke."""
    body = json.dumps({"token": TOKEN})
    answer = request(
        proxied, "/api/v1/login", body, X_Forwarded_For=f"10.0.1.{int(is_secure)}", X_Forwarded_Proto=scheme
    )
    assert (answer.status, "Secure" in answer.headers["Set-Cookie"]) == (204, is_secure)


def test_without_the_setting_nobody_is_believed(unproxied: CollectorProcess) -> None:
    """Forged headers neither lift the limit nor make it https."""
    body = json.dumps({"token": TOKEN})
    login = request(unproxied, "/api/v1/login", body, X_Forwarded_For="10.0.0.1", X_Forwarded_Proto="https")
    assert (login.status, "Secure" in login.headers["Set-Cookie"]) == (204, False)
    statuses = [request(unproxied, X_Forwarded_For=f"10.0.0.{n}", Forwarded=f"for=10.0.0.{n}").status for n in range(8)]
    assert statuses[-1] == 429


@pytest.mark.parametrize("given", ["nginx", "127.0.0.1/8", "*"])
def test_a_proxy_is_one_address(tmp_path: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is named, and what is allowed."""
    from heflwr.collector.__main__ import main

    with pytest.raises(SystemExit):
        main(["--database", str(tmp_path / "x.db"), "--port", "0", "--proxy", given])
    assert f"--proxy must be one address such as 127.0.0.1, got {given!r}" in capsys.readouterr().err


def test_the_proxy_is_a_setting_like_the_others() -> None:
    """Flag, variable, and refused where it is empty."""
    assert read_settings({}, {})["proxy"] is None
    assert read_settings({}, {"HEFLWR_COLLECTOR_PROXY": "::1"})["proxy"] == "::1"
    with pytest.raises(SettingError, match="--proxy must not be empty"):
        read_settings({"proxy": ""}, {})


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n",
            431,
            "Request Header Fields Too Large",
        ),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400, "Bad Request"),
        (b"POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, "Bad Request"),
        (b"POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413, "Request Entity Too Large"),
        (b"POST /log HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "Not Implemented"),
    ],
    ids=["431", "400 header", "400 length", "413", "501"],
)
def test_what_is_refused_unread_has_its_reason_in_json(
    unproxied: CollectorProcess, data: bytes, status: int, reason: str
) -> None:
    """As every other error has."""
    found, content_type, answer = exchange(unproxied, data)
    assert (found, content_type, set(answer)) == (status, "application/json", {"error"})
    assert answer["error"].startswith(f"{reason}: ")


def listen(running: CollectorProcess, client: str) -> socket.socket | None:
    """Return a connection on which events come, None where there are too many."""
    host, _, port = running.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), 30)
    connection.sendall(
        f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n"
        f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    head = connection.recv(4096)
    if head.startswith(b"HTTP/1.1 200"):
        return connection
    connection.close()
    return None


def test_closed_pages_make_room_at_once(tmp_path: Path) -> None:
    """Closed in order or broken off, and nothing happened meanwhile: the places are free long before a heartbeat."""
    options = ("--rate", "0", "--listeners", str(LISTENERS))
    with CollectorProcess(tmp_path / "heflwr.db", *options, HEFLWR_COLLECTOR_TOKEN=TOKEN) as running:
        for _ in range(2):
            closed, broken = listen(running, "x"), listen(running, "x")
            assert closed is not None
            assert broken is not None
            assert listen(running, "x") is None
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
            closed.close()
            broken.close()
            wait_for(lambda: "heflwr_collector_listeners 0.0" in get(f"{running.url}/metrics", TOKEN)[1], 8)
