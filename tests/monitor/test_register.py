"""A PrometheusMonitor that registers: Prometheus finds it through a collector, and nothing waits for either of them."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_server import prometheus_server, self_signed
from servers import Collected, FaultyServer, collector, free_port, get, reply
from waiting import wait_for

from heflwr.monitor import Monitor, process_monitor, thread_monitor
from heflwr.monitor.sinks import _registrar
from heflwr.monitor.sinks.prometheus import PrometheusSink

BOTH = pytest.mark.parametrize("monitors", [process_monitor, thread_monitor], ids=["process", "thread"])


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached without a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def registered(monitor: Monitor) -> dict[str, Any]:
    return monitor.health.sinks[0]["registered"]


class Accepting:
    """A server that takes every registration, and what it was told."""

    def __init__(self, *statuses: int) -> None:
        waiting = list(statuses)

        def answer(handler: Any, body: bytes) -> None:
            status = waiting.pop(0) if waiting else 200
            reply(handler, status, b'{"lease": 300}' if status == 200 else b'{"error": "not now"}')

        self.server = FaultyServer(answer)

    def __enter__(self) -> Accepting:
        self.server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(*error)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.server.requests]


def test_prometheus_finds_what_registered(tmp_path: Path) -> None:
    """Two monitors register, one that serves HTTPS; Prometheus scrapes both; who stops is off the collector's list."""
    certfile, keyfile = self_signed(tmp_path)
    with collector(tmp_path / "heflwr.db") as collected:
        options: dict[str, Any] = {"register": collected.url, "host": "127.0.0.1", "interval": 0.2}
        process = process_monitor.PrometheusMonitor(0, identifier="process", **options)
        thread = thread_monitor.PrometheusMonitor(0, identifier="thread", certfile=certfile, keyfile=keyfile, **options)
        with process, thread:
            wait_for(lambda: registered(process)["target"] and registered(thread)["target"])
            assert targets(collected) == {f"127.0.0.1:{monitor.port}" for monitor in (process, thread)}
            job = {
                "job_name": "fleet",
                "http_sd_configs": [{"url": f"{collected.url}/api/v1/targets", "refresh_interval": "1s"}],
                "tls_config": {"ca_file": str(certfile)},
                "relabel_configs": [{"source_labels": ["__meta_heflwr_run"], "target_label": "run"}],
            }
            with prometheus_server(tmp_path / "prometheus", [job]) as server:
                wait_for(lambda: len(server.query("heflwr_samples_total")) == 2, what="both in Prometheus", seconds=60)
                series = [labels for labels, _ in server.query("heflwr_samples_total")]
            thread.stop()
            assert targets(collected) == {f"127.0.0.1:{process.port}"}
        assert targets(collected) == set()
    assert {labels["identifier"] for labels in series} == {"process", "thread"}
    assert len({labels["run"] for labels in series}) == 2


@BOTH
def test_a_killed_client_stays_on_the_list(tmp_path: Path, monitors: Any) -> None:
    """Until its lease ends: Prometheus looks for it in vain, and someone hears of it. Its endpoint is gone at once."""
    script = f"""
import sys
from {monitors.__name__} import PrometheusMonitor

with PrometheusMonitor(0, 0.2, host="127.0.0.1", register=sys.argv[1]) as monitor:
    print(monitor.port, flush=True)
    sys.stdin.read()
"""
    with collector(tmp_path / "heflwr.db") as collected:
        command = [sys.executable, "-c", script, collected.url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            target = f"127.0.0.1:{int(process.stdout.readline())}"
            wait_for(lambda: targets(collected) == {target}, what="its registration")
            process.kill()
        wait_for(lambda: not is_open(target), what="a closed port")
        assert targets(collected) == {target}


def is_open(target: str) -> bool:
    host, _, port = target.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def targets(collected: Collected) -> set[str]:
    status, groups = get(f"{collected.url}/api/v1/targets")
    assert status == 200, groups
    return {target for group in groups for target in group["targets"]}


@BOTH
def test_a_collector_with_a_certificate_and_a_token_is_told(
    tmp_path: Path, monitors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token opens it, and its authority comes from the environment; a wrong token shows in health."""
    certfile, keyfile = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certfile))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certfile, keyfile)
    with collector(tmp_path / "heflwr.db", token="s3cret", tls=tls) as collected:
        options: dict[str, Any] = {"register": collected.url, "host": "127.0.0.1", "interval": 60}
        right = monitors.PrometheusMonitor(0, register_token="s3cret", **options)
        wrong = monitors.PrometheusMonitor(0, register_token="gu3ss", **options)
        with right, wrong:
            wait_for(lambda: registered(right)["target"] == f"127.0.0.1:{right.port}")
            told = wait_for(lambda: registered(wrong)["last_error"] and registered(wrong))
    assert told["target"] == ""
    assert f"{collected.url} answered 401" in told["last_error"]
    assert "gu3ss" not in repr(told)


@BOTH
def test_what_is_told_is_the_way_back(monitors: Any) -> None:
    """By default the address of the route to the collector, else what advertise says; identifier, run and no labels."""
    with Accepting() as accepting:
        address = accepting.server.address
        for advertise in (None, "board-7.lab", "[fe80::7]:9", "board-7.lab:9"):
            monitor = monitors.PrometheusMonitor(0, 60, identifier="me", register=address, advertise=advertise)
            with monitor:
                told = wait_for(lambda monitor=monitor: registered(monitor)["target"])
                port = monitor.port
            assert told == {None: f"127.0.0.1:{port}", "board-7.lab": f"board-7.lab:{port}"}.get(advertise, advertise)
            hello, goodbye = accepting.messages[-2:]
            assert (hello["identifier"], hello["target"], hello["labels"], hello["lease"]) == ("me", told, {}, 300)
            assert goodbye == {**hello, "lease": 0}
            assert registered(monitor) == {"url": f"http://{address}", "target": "", "last_error": ""}
        assert len({message["run"] for message in accepting.messages}) == 4
        assert {path for path, _, _ in accepting.server.requests} == {"/api/v1/targets"}


def test_a_registration_is_renewed_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Well before the lease ends it is told again; a refusal shows in health, and the next try may succeed."""
    monkeypatch.setattr(_registrar, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(_registrar, "BACKOFF_SECONDS", (0.01, 0.05))
    with Accepting(500, 401, 200, 503) as accepting:
        sink = PrometheusSink(0, host="127.0.0.1", register=accepting.server.address, register_token="s3cret")
        monitor = Monitor([sink], interval=60, runner="thread")
        with monitor:
            wait_for(lambda: len(accepting.messages) >= 8)
            told = wait_for(lambda: registered(monitor)["target"] and registered(monitor))
        headers = [headers["Authorization"] for _, headers, _ in accepting.server.requests]
    assert told["target"] == f"127.0.0.1:{monitor.port}"
    assert told["last_error"] == f"http://{accepting.server.address} answered 503: not now"
    assert set(headers) == {"Bearer s3cret"}
    assert "s3cret" not in repr(told)


def test_a_lease_that_ran_out_is_no_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no renewal came through, health does not say for longer than the lease that the target is known."""
    monkeypatch.setattr(_registrar, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(_registrar, "BACKOFF_SECONDS", (0.01, 0.05))
    with Accepting(200, *[503] * 1000) as accepting:
        monitor = thread_monitor.PrometheusMonitor(0, 60, host="127.0.0.1", register=accepting.server.address)
        with monitor:
            wait_for(lambda: len(accepting.messages) > 1 and registered(monitor)["target"] == "")
            assert "answered 503" in registered(monitor)["last_error"]


@BOTH
def test_a_collector_that_is_away_or_hangs_disturbs_nothing(monitors: Any) -> None:
    """start() and stop() do not wait for it, scrapes are answered, and health says that it is not registered."""
    with FaultyServer() as hanging:
        for address in (hanging.address, f"127.0.0.1:{free_port()}"):
            monitor = monitors.PrometheusMonitor(0, 0.02, host="127.0.0.1", register=address)
            began = time.monotonic()
            with monitor:
                status, page = get(f"http://127.0.0.1:{monitor.port}/metrics")
                wait_for(lambda monitor=monitor: len(monitor.samples()) > 10)
                assert (status, "heflwr_samples_total" in page) == (200, True)
                if address != hanging.address:
                    wait_for(lambda monitor=monitor: "cannot reach" in registered(monitor)["last_error"])
                assert registered(monitor)["target"] == ""
                stopping = time.monotonic()
            assert time.monotonic() - stopping < 5
            assert stopping - began < 20
            assert monitor.health.errors == {}
            assert monitor.failure == ""


def test_without_register_nothing_of_it_is_there() -> None:
    """No thread, no import, no word of it in health."""
    with thread_monitor.PrometheusMonitor(0, 60, host="127.0.0.1") as monitor:
        assert "registered" not in monitor.health.sinks[0]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"advertise": "host"}, ValueError, "advertise is for the collector of register="),
        ({"register_token": "s3cret"}, ValueError, "register_token is for the collector of register="),
        ({"register": 5000}, TypeError, "register must be a string, got 5000"),
        ({"register": "host"}, ValueError, "register has no port, got 'host'"),
        ({"register": "http://u:p@h"}, ValueError, "give a secret as register_token="),
        ({"register": "h:1", "register_token": "a b"}, ValueError, "register_token must be visible ASCII"),
        ({"register": "h:1", "advertise": 5}, TypeError, "advertise must be a string, got 5"),
        ({"register": "h:1", "advertise": "http://h:1"}, ValueError, "advertise must be 'host' or 'host:port'"),
        ({"register": "h:1", "advertise": ""}, ValueError, "advertise must be 'host' or 'host:port'"),
        ({"register": "h:1", "advertise": "::1"}, ValueError, r"'\[IPv6\]' in brackets, got '::1'"),
        ({"register": "h:1", "advertise": "h:0"}, ValueError, "advertise's port must be from 1 to 65535"),
        ({"register": "h:1", "advertise": "h:99999"}, ValueError, "advertise's port must be from 1 to 65535"),
    ],
)
def test_a_wrong_argument_is_named_by_the_constructor(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Raised in the caller's thread, with the way out, and never with the token."""
    with pytest.raises(error, match=text) as raised:
        thread_monitor.PrometheusMonitor(0, **arguments)
    assert "s3cret" not in str(raised.value)
