"""The Prometheus endpoint of both variants: what it serves, to whom, and that nobody can hang it."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import math
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_server import DIRECT, self_signed
from waiting import burn, wait_for

from heflwr.monitor import Monitor, SinkUnavailable, process_monitor, thread_monitor
from heflwr.monitor.metrics import GROUPS, Metric, in_groups
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.prometheus import PrometheusSink

PROMPT_SECONDS = 4.0
"""Generous for what takes milliseconds, and shorter than any time-out of the endpoint or of stop()."""

HOST = "127.0.0.1"


@pytest.fixture(params=[process_monitor, thread_monitor], ids=["process", "thread"])
def variant(request: pytest.FixtureRequest) -> Callable[..., Monitor]:
    """Return the PrometheusMonitor of each module."""
    return request.param.PrometheusMonitor


def only(group: str) -> tuple[Metric, ...]:
    return in_groups({name: name == group for name in GROUPS})


@contextmanager
def served(group: str = "cpu", **options: Any) -> Iterator[PrometheusSink]:
    """Yield an open sink of a run that measures one group."""
    sink = PrometheusSink(0, host=HOST, **options)
    sink.open(Run("client", "0123", 1, 1.7e9, 5.0, only(group)))
    try:
        yield sink
    finally:
        sink.close()


def fetch(
    port: int | None,
    path: str = "/metrics",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Return status, headers and body."""
    assert port is not None
    if tls is None:
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
    else:
        connection = http.client.HTTPSConnection(HOST, port, timeout=10, context=tls)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def values(port: int | None) -> dict[str, float]:
    """Return what is exposed: "name" or "name{label}" (first label of our own) and its value."""
    found = {}
    for family in parse_text(fetch(port)[2].decode()):
        for sample in family.samples:
            found[sample.name + "".join(f"{{{value}}}" for value in sample.labels.values())] = sample.value
    return found


def port_of(sink: PrometheusSink) -> int:
    port = sink.facts()["port"]
    assert isinstance(port, int)
    return port


def is_free(port: int | None) -> bool:
    """Return True where nobody listens on the port and a server may take it at once."""
    assert port is not None
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            return False
    socket.create_server(("", port)).close()
    return True


def stopped_promptly(monitor: Monitor) -> bool:
    since = time.monotonic()
    monitor.stop()
    return time.monotonic() - since < PROMPT_SECONDS and not monitor.failure


# What it serves


def test_a_scrape_shows_the_run(variant: Callable[..., Monitor]) -> None:
    """Sums since start(), the latest levels and the run itself, with the identifier and the user's labels."""
    with variant(0, 0.05, host=HOST, identifier="client 7", labels={"site": "lab"}) as monitor:
        held = bytearray(b"x") * (64 << 20)
        burn(0.3)
        wait_for(lambda: values(monitor.port).get("heflwr_cpu_seconds_total{client 7}{lab}", 0.0) >= 0.29)
        wait_for(lambda: values(monitor.port)["heflwr_samples_total{client 7}{lab}"] >= 3)
        shown = values(monitor.port)
        (info,) = [f for f in parse_text(fetch(monitor.port)[2].decode()) if f.name == "heflwr_build_info"]
    assert shown["heflwr_samples_total{client 7}{lab}"] >= 3
    assert shown["heflwr_sample_interval_seconds{client 7}{lab}"] == 0.05
    assert shown["heflwr_last_sample_timestamp_seconds{client 7}{lab}"] == pytest.approx(time.time(), abs=30)
    assert shown["heflwr_memory_resident_bytes{client 7}{lab}"] > len(held)
    assert 0 < shown["heflwr_memory_usage_ratio{client 7}{lab}"] < 1
    assert 0 <= shown["heflwr_cpu_usage_ratio{client 7}{lab}"] <= 1
    assert set(info.samples[0].labels) == {"identifier", "site", "version", "python", "platform"}
    assert info.samples[0].value == 1


def test_metrics_that_are_off_are_not_exposed(variant: Callable[..., Monitor]) -> None:
    """Only the groups that are on are there, besides what describes the run."""
    monitor = variant(0, 0.05, host=HOST)
    monitor.set_metrics(cpu=True, memory=False, network=False)
    with monitor:
        wait_for(lambda: "heflwr_cpu_seconds_total" in values(monitor.port))
        names = {name.partition("{")[0] for name in values(monitor.port)}
    assert names == {
        "heflwr_build_info",
        "heflwr_samples_total",
        "heflwr_sample_interval_seconds",
        "heflwr_last_sample_timestamp_seconds",
        "heflwr_cpu_seconds_total",
        "heflwr_cpu_usage_ratio",
    }


def test_the_format_is_the_one_that_the_client_prefers(variant: Callable[..., Monitor]) -> None:
    """OpenMetrics where it is asked for, else the text format; both parse and hold the same metrics."""
    prefers = {
        "": False,
        "*/*": False,
        "text/plain;version=0.0.4": False,
        "application/openmetrics-text": True,
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1": True,
        "application/openmetrics-text;q=0.2,text/plain": False,
        "application/openmetrics-text;q=0": False,
        "application/openmetrics-text;version=rubbish;q=1\t,;;=": True,
    }
    with variant(0, 0.05, host=HOST) as monitor:
        wait_for(lambda: "heflwr_cpu_seconds_total" in values(monitor.port))
        for accept, is_openmetrics in prefers.items():
            status, headers, body = fetch(monitor.port, headers={"Accept": accept} if accept else {})
            kind = "application/openmetrics-text; version=1.0.0" if is_openmetrics else "text/plain; version=0.0.4"
            assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8"), accept
            families = list((parse_openmetrics if is_openmetrics else parse_text)(body.decode()))
            assert len(families) == 10, accept
            assert body.endswith(b"# EOF\n") is is_openmetrics


def test_the_body_is_compressed_for_those_who_take_it() -> None:
    """gzip on request, with the same content; not for who refuses it."""
    with served() as sink:
        plain = fetch(port_of(sink))[2]
        _, headers, packed = fetch(port_of(sink), headers={"Accept-Encoding": "deflate, gzip;q=0.5"})
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed) == plain
        _, headers, refused = fetch(port_of(sink), headers={"Accept-Encoding": "gzip;q=0"})
        assert headers["Content-Encoding"] is None
        assert refused == plain


def test_counters_are_sums_and_gauges_the_latest_value() -> None:
    """Increments add up over the run, levels are replaced, and percent becomes a ratio."""
    with served("cpu") as sink:
        port = port_of(sink)
        assert values(port) == {
            "heflwr_build_info{}{}{}": 1,
            "heflwr_samples_total": 0,
            "heflwr_sample_interval_seconds": 5,
        }
        for sequence, (seconds, percent) in enumerate([(0.5, 10.0), (0.25, 50.0), (2.0, 25.0)]):
            sink.write(Sample(sequence, 1.7e9 + sequence, sequence, (seconds, percent)))
        assert values(port) == {
            "heflwr_build_info{}{}{}": 1,
            "heflwr_samples_total": 3,
            "heflwr_sample_interval_seconds": 5,
            "heflwr_last_sample_timestamp_seconds": 1.7e9 + 2,
            "heflwr_cpu_seconds_total": 2.75,
            "heflwr_cpu_usage_ratio": 0.25,
        }


def test_a_rail_that_is_missing_is_not_exposed() -> None:
    """No value, no series: never a zero or a NaN; a counter that misses one tick keeps its sum."""
    nan = math.nan
    with served("power") as sink:
        sink.write(Sample(0, 1.7e9, 0.0, (5000.0, 1500.0, nan, nan, 700.0, 200.0)))
        shown = {name: value for name, value in values(port_of(sink)).items() if "power" in name or "energy" in name}
        assert shown == {
            "heflwr_power_watts": 5.0,
            "heflwr_energy_joules_total": 1.5,
            "heflwr_rail_power_watts{vdd_soc}": pytest.approx(0.7),
            "heflwr_rail_energy_joules_total{vdd_soc}": pytest.approx(0.2),
        }
        sink.write(Sample(1, 1.7e9, 1.0, (nan, nan, nan, nan, nan, nan)))
        shown = {name: value for name, value in values(port_of(sink)).items() if "power" in name or "energy" in name}
        assert shown == {
            "heflwr_energy_joules_total": 1.5,
            "heflwr_rail_energy_joules_total{vdd_soc}": pytest.approx(0.2),
        }
        assert b"NaN" not in fetch(port_of(sink))[2]


def test_a_counter_never_falls() -> None:
    """A rail that reads below zero at idle holds its counter until the sum has caught up: no false restart."""
    seen = []
    with served("power") as sink:
        for sequence, energy in enumerate([-1000.0, 4000.0, -2000.0, 1000.0, 3000.0]):
            sink.write(Sample(sequence, 1.7e9, 0.0, (0.0, energy) * 3))
            seen.append(values(port_of(sink))["heflwr_energy_joules_total"])
    assert seen == [0, 3, 3, 3, 5]


def test_a_scrape_sees_one_whole_sample() -> None:
    """While samples pour in, every scrape shows values of a single one."""
    over = threading.Event()
    with served("threads") as sink:

        def pour() -> None:
            sequence = 0
            while not over.is_set():
                sink.write(Sample(sequence, float(sequence), 0.0, (float(sequence), float(sequence), 1.0)))
                sequence += 1

        writer = threading.Thread(target=pour)
        writer.start()
        try:
            wait_for(lambda: "heflwr_threads" in values(port_of(sink)))
            scrapes = [values(port_of(sink)) for _ in range(50)]
        finally:
            over.set()
            writer.join()
    assert len({shown["heflwr_threads"] for shown in scrapes}) > 10
    for shown in scrapes:
        number = shown["heflwr_threads"]
        assert shown["heflwr_open_file_descriptors"] == number
        assert shown["heflwr_last_sample_timestamp_seconds"] == number
        assert shown["heflwr_samples_total"] == shown["heflwr_context_switches_total"] == number + 1


@pytest.mark.parametrize("value", ['say "hi"', "a\\b\\n", "two\nlines", "é 日本 🙂", "tab\t", "{x=1} # y", " "])
def test_label_values_come_through_unharmed(value: str) -> None:
    """Quotes, backslashes, line ends and any script survive both formats."""
    with served(labels={"identifier": value}) as sink:
        for accept, parse in (("", parse_text), ("application/openmetrics-text", parse_openmetrics)):
            text = fetch(port_of(sink), headers={"Accept": accept})[2].decode()
            found = {sample.labels["identifier"] for family in parse(text) for sample in family.samples}
            assert found == {value}


# To whom


def test_other_paths_and_methods_are_turned_away(variant: Callable[..., Monitor]) -> None:
    """/ points to /metrics, HEAD has no body, all else is 404 or 405, and nothing of it counts as a scrape."""
    with variant(0, 1, host=HOST) as monitor:
        status, headers, body = fetch(monitor.port, "/")
        assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert b"/metrics" in body
        status, headers, body = fetch(monitor.port, method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["Content-Length"]) > 100
        assert fetch(monitor.port, "/etc/passwd")[0] == 404
        assert fetch(monitor.port, "/metrics/")[0] == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, _ = fetch(monitor.port, method=method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
        assert monitor.health.sinks[0]["scrapes"] == 0
        assert fetch(monitor.port, "/metrics?format=any")[0] == 200
        assert monitor.health.sinks[0]["scrapes"] == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"GET /metrics SPDY/9\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nno colon here\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 100_000, b"431"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + b"a" * 9_000_000, b"405"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_garbage_gets_an_answer(request_bytes: bytes, status: bytes) -> None:
    """What is no request, or too long a one, is refused in a line, and the next scrape works."""
    with served() as sink:
        with socket.create_connection((HOST, port_of(sink)), timeout=10) as client:
            client.sendall(request_bytes)
            assert client.recv(1000).startswith(b"HTTP/1.1 " + status)
        assert fetch(port_of(sink))[0] == 200


def basic(username: str, password: str, scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(f'{username}:{password}'.encode()).decode()}"}


def test_basic_authentication_lets_in_who_knows_the_password(variant: Callable[..., Monitor]) -> None:
    """Without the right name and password there is a 401 that asks for them, on every path."""
    with variant(0, 1, host=HOST, username="prometheus", password="pass: wört") as monitor:
        assert fetch(monitor.port, headers=basic("prometheus", "pass: wört"))[0] == 200
        assert fetch(monitor.port, headers=basic("prometheus", "pass: wört", "bAsIc"))[0] == 200
        wrong = [
            {},
            basic("prometheus", "pass"),
            basic("", ""),
            basic("other", "pass: wört"),
            basic("prometheus", "pass: wört", "Bearer"),
            {"Authorization": "Basic"},
            {"Authorization": "Basic \xff\xfe!"},
        ]
        for headers in wrong:
            for path in ("/metrics", "/", "/other"):
                status, asked, body = fetch(monitor.port, path, headers=headers)
                assert (status, asked["WWW-Authenticate"]) == (401, 'Basic realm="heflwr", charset="UTF-8"')
                assert b"heflwr_" not in body
        assert "wört" not in str(monitor.health)


def test_https_is_served_with_a_certificate(variant: Callable[..., Monitor], tmp_path: Path) -> None:
    """A client that trusts the certificate reads the metrics; one that speaks no TLS disturbs nobody."""
    certfile, keyfile = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=certfile)
    with variant(0, 1, host=HOST, certfile=certfile, keyfile=keyfile) as monitor:
        assert monitor.health.sinks[0]["url"] == f"https://{HOST}:{monitor.port}/metrics"
        with pytest.raises((http.client.HTTPException, OSError)):
            fetch(monitor.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            fetch(monitor.port, tls=ssl.create_default_context())
        status, _, body = fetch(monitor.port, tls=trusting)
        assert status == 200
        assert b"heflwr_build_info" in body
        with socket.create_connection((HOST, monitor.port or 0)):  # never starts its handshake
            assert fetch(monitor.port, tls=trusting)[0] == 200
            assert stopped_promptly(monitor)


def test_certificate_and_key_may_be_one_file(tmp_path: Path) -> None:
    """certfile alone serves HTTPS where it holds the key as well."""
    certfile, keyfile = self_signed(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(certfile.read_bytes() + keyfile.read_bytes())
    with served(certfile=both) as sink:
        assert fetch(port_of(sink), tls=ssl.create_default_context(cafile=certfile))[0] == 200


def test_a_certificate_that_does_not_serve_is_refused_at_start(variant: Callable[..., Monitor], tmp_path: Path) -> None:
    """A file that is no certificate, and a key that is encrypted (nobody is asked for it), name the way out."""
    certfile, keyfile = self_signed(tmp_path, password="secret")
    for options in ({"certfile": Path(__file__)}, {"certfile": certfile, "keyfile": keyfile}):
        monitor = variant(0, 1, host=HOST, **options)
        with pytest.raises(SinkUnavailable, match=r"cannot serve HTTPS with certfile .* not encrypted, as PEM files"):
            monitor.start()


def test_all_interfaces_are_served_by_default(variant: Callable[..., Monitor]) -> None:
    """Without a host, IPv4 and IPv6 both answer, as far as the machine has them, and the URL says where to look."""
    with variant(0, 1) as monitor:
        assert monitor.health.sinks[0]["host"] == ""
        url = monitor.health.sinks[0]["url"]
        assert url == f"http://localhost:{monitor.port}/metrics"
        urls = [url, f"http://127.0.0.1:{monitor.port}/metrics"]
        if has_ipv6():
            urls.append(f"http://[::1]:{monitor.port}/metrics")
        for each in urls:
            with DIRECT.open(each, timeout=10) as answer:
                assert b"heflwr_build_info" in answer.read()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1", "::"])
def test_a_host_can_be_a_name_or_an_address(host: str) -> None:
    """The URL in the sink's facts works for each, IPv6 in brackets."""
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    sink = PrometheusSink(0, host=host)
    sink.open(Run("client", "0123", 1, 1.7e9, 5.0, only("cpu")))
    try:
        with DIRECT.open(sink.facts()["url"], timeout=10) as answer:
            assert answer.status == 200
    finally:
        sink.close()


# Ports


def test_monitor_port_tells_the_port_that_was_picked(variant: Callable[..., Monitor]) -> None:
    """port=0 picks a free one; before the first start() there is none."""
    monitor = variant(0, 1, host=HOST)
    assert monitor.port is None
    with monitor:
        assert monitor.port
        assert monitor.health.sinks == [
            {
                "sink": "prometheus",
                "port": monitor.port,
                "host": HOST,
                "scrapes": 0,
                "url": f"http://{HOST}:{monitor.port}/metrics",
            }
        ]


def test_stop_closes_the_port_and_start_takes_it_again(variant: Callable[..., Monitor]) -> None:
    """After stop() nobody listens, and the port can be had again at once, again and again."""
    with variant(0, 1, host=HOST) as first:
        port = first.port
        fetch(port)
    assert is_free(port)
    monitor = variant(port, 0.05)
    for _ in range(3):
        monitor.start()
        assert monitor.port == port
        wait_for(lambda: values(port)["heflwr_samples_total"] >= 1)
        assert stopped_promptly(monitor)
        assert is_free(port)


def test_a_restart_counts_from_zero(variant: Callable[..., Monitor]) -> None:
    """Sums are those since start(): Prometheus sees a restart as it sees any other."""
    monitor = variant(0, 0.05, host=HOST)
    with monitor:
        burn(0.4)
        wait_for(lambda: values(monitor.port).get("heflwr_cpu_seconds_total", 0.0) >= 0.39)
    with monitor:
        wait_for(lambda: "heflwr_cpu_seconds_total" in values(monitor.port))
        assert values(monitor.port)["heflwr_cpu_seconds_total"] < 0.39


@pytest.mark.parametrize("taken_on", ["", HOST])
def test_a_port_in_use_is_an_error_from_start(variant: Callable[..., Monitor], taken_on: str) -> None:
    """start() names the port and the way out, and the same monitor starts once the port is free."""
    with socket.create_server((taken_on, 0)) as other:
        port = other.getsockname()[1]
        monitor = variant(port, 1)
        with pytest.raises(SinkUnavailable, match=rf"port {port} of all interfaces: .* in use; .*port=0 picks a free"):
            monitor.start()
        assert not monitor.health.is_running
        monitor.stop()
    with monitor:
        assert fetch(port)[0] == 200


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "x" * 100, "two\nlines"])
def test_a_host_that_is_not_ours_is_an_error_from_start(variant: Callable[..., Monitor], host: str) -> None:
    """A name that does not resolve and an address of another machine are refused by name."""
    with pytest.raises(SinkUnavailable) as refusal:
        variant(0, 1, host=host).start()
    assert f"cannot listen on port 0 of host {host!r}" in str(refusal.value)


def test_two_monitors_serve_side_by_side(variant: Callable[..., Monitor]) -> None:
    """Two of one kind in a process have registries and ports of their own; stopping one leaves the other."""
    with variant(0, 0.05, host=HOST, identifier="one") as one, variant(0, 0.05, host=HOST, identifier="two") as two:
        assert one.port != two.port
        wait_for(lambda: "heflwr_cpu_seconds_total{one}" in values(one.port))
        wait_for(lambda: "heflwr_cpu_seconds_total{two}" in values(two.port))
        one.stop()
        assert is_free(one.port)
        assert "heflwr_cpu_seconds_total{two}" in values(two.port)


# Nobody can hang it


def test_a_client_that_sends_nothing_disturbs_nobody(variant: Callable[..., Monitor]) -> None:
    """Others are served meanwhile, stop() is prompt, and the silent one sees its connection end."""
    with variant(0, 0.05, host=HOST) as monitor, socket.create_connection((HOST, monitor.port or 0), 10) as silent:
        assert fetch(monitor.port)[0] == 200
        assert stopped_promptly(monitor)
        assert silent.recv(1) == b""
    assert is_free(monitor.port)


def test_a_crowd_of_silent_clients_is_bounded(variant: Callable[..., Monitor]) -> None:
    """However many connect and wait, a scrape gets through at once, and no more than a few threads serve them."""
    with ExitStack() as stack:
        monitor = stack.enter_context(variant(0, 0.05, host=HOST))
        before = threading.active_count()
        for _ in range(100):
            stack.enter_context(socket.create_connection((HOST, monitor.port or 0), 10))
        since = time.monotonic()
        assert fetch(monitor.port)[0] == 200
        assert time.monotonic() - since < PROMPT_SECONDS
        assert threading.active_count() - before <= 17
        assert stopped_promptly(monitor)
    assert is_free(monitor.port)


def test_a_client_that_drips_is_cut_off() -> None:
    """A request that comes a byte at a time ends with the connection, not with the client's patience."""
    with served() as sink, socket.create_connection((HOST, port_of(sink)), 10) as slow:
        since = time.monotonic()
        slow.settimeout(0.25)
        is_over = False
        while not is_over:
            assert time.monotonic() - since < 30
            try:
                slow.send(b"X")
                is_over = slow.recv(1) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                is_over = True
        assert fetch(port_of(sink))[0] == 200


def test_a_connection_kept_alive_does_not_hold_the_port(variant: Callable[..., Monitor]) -> None:
    """A client that keeps its connection open is told that it ends, asks again over another, and stop() is prompt."""
    with variant(0, 0.05, host=HOST) as monitor:
        client = http.client.HTTPConnection(HOST, monitor.port or 0, timeout=10)
        for _ in range(3):
            client.request("GET", "/metrics", headers={"Connection": "keep-alive"})
            answer = client.getresponse()
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
            answer.read()
        with socket.create_connection((HOST, monitor.port or 0), 10) as open_ended:
            open_ended.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert open_ended.recv(12) == b"HTTP/1.1 200"
            assert stopped_promptly(monitor)
        client.close()
    assert is_free(monitor.port)


def test_scrapes_at_once_are_all_answered(variant: Callable[..., Monitor]) -> None:
    """Several servers may scrape at the same time."""
    with variant(0, 0.05, host=HOST) as monitor:
        answers: list[int] = []
        scrapers = [
            threading.Thread(target=lambda: answers.extend(fetch(monitor.port)[0] for _ in range(10))) for _ in range(8)
        ]
        for scraper in scrapers:
            scraper.start()
        for scraper in scrapers:
            scraper.join()
        assert answers == [200] * 80
        assert monitor.health.sinks[0]["scrapes"] == 80


def test_threads_end_with_stop() -> None:
    """The thread variant leaves no thread behind, although a client still holds on."""
    before = set(threading.enumerate())
    monitor = thread_monitor.PrometheusMonitor(0, 0.05, host=HOST)
    monitor.start()
    with socket.create_connection((HOST, monitor.port or 0), 10):
        fetch(monitor.port)
        wait_for(lambda: any(thread.name == "heflwr-endpoint-request" for thread in threading.enumerate()))
        monitor.stop()
        assert set(threading.enumerate()) == before


# Processes


@contextmanager
def script(code: str, module: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that watches itself; it is killed at the end if it still runs."""
    head = f"""
import json, os, resource, signal, socket, sys, time, warnings
warnings.simplefilter("ignore")  # forking while threads run is what these programs are about
from heflwr.monitor.{module} import PrometheusMonitor
def say(*words):
    print(json.dumps(words), flush=True)
"""
    command = [sys.executable, "-c", head + textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def hear(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def tell(process: subprocess.Popen[str], line: str = "go on") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("module", ["process_monitor", "thread_monitor"])
def test_a_forked_child_neither_holds_the_port_nor_loses_its_own(module: str) -> None:
    """It serves on a port of its own with the monitor it inherited; the parent's is free after the parent's stop()."""
    code = """
    monitor = PrometheusMonitor(0, 0.05, host="127.0.0.1")
    monitor.start()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        monitor.start()
        os.write(theirs, str(monitor.port).encode())
        sys.stdin.readline()
        monitor.stop()
        os._exit(0)
    say(monitor.port, int(os.read(ours, 10)))
    monitor.stop()
    say("stopped")
    os.waitpid(pid, 0)
    say("over")
    """
    with script(code, module) as process:
        parent, child = hear(process)
        assert hear(process) == ["stopped"]
        assert parent != child
        assert is_free(parent)
        assert fetch(child)[0] == 200
        tell(process)
        assert hear(process) == ["over"]
        assert is_free(child)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds its descriptors in /proc")
def test_a_program_that_inherited_the_socket_does_not_hold_the_port() -> None:
    """Whoever else has the listening socket open, and does not know it, the port is free after stop()."""
    code = """
    import subprocess
    monitor = PrometheusMonitor(0, 0.05, host="127.0.0.1")
    monitor.start()
    names = [(int(fd), f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    sockets = [fd for fd, name in names if os.path.exists(name) and os.readlink(name).startswith("socket:")]
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    heir = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=sockets)
    monitor.stop()
    say(monitor.port, len(sockets), heir.poll())
    sys.stdin.readline()
    heir.communicate()
    """
    with script(code, "thread_monitor") as process:
        port, sockets, ended = hear(process)
        assert sockets >= 1
        assert ended is None
        assert is_free(port)
        tell(process)
        assert process.wait(20) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("module", ["process_monitor", "thread_monitor"])
def test_a_killed_process_leaves_no_port_taken(module: str) -> None:
    """After SIGKILL the port is free within a moment, also while a child that it forked lives on."""
    code = """
    monitor = PrometheusMonitor(0, 0.05, host="127.0.0.1")
    monitor.start()
    pid = os.fork()
    if pid == 0:
        sys.stdin.read()
        os._exit(0)
    say(monitor.port, pid)
    signal.pause()
    """
    with script(code, module) as process:
        port, child = hear(process)
        assert fetch(port)[0] == 200
        process.kill()
        process.wait()
        os.kill(child, 0)  # lives
        try:
            wait_for(lambda: is_free(port), what="a free port")
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_process_without_file_descriptors_serves_again_when_it_has_some() -> None:
    """While no connection can be taken the endpoint waits without burning CPU; then the waiting client is served."""
    code = """
    monitor = PrometheusMonitor(0, 0.05, host="127.0.0.1")
    monitor.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    hoard = []
    try:
        while True:
            hoard.append(open("/dev/null"))
    except OSError:
        pass
    say(monitor.port)
    sys.stdin.readline()
    used, since = time.process_time(), time.monotonic()
    while time.monotonic() < since + 1:
        time.sleep(0.1)
    share = (time.process_time() - used) / (time.monotonic() - since)
    for file in hoard:
        file.close()
    say(share)
    sys.stdin.readline()
    monitor.stop()
    """
    with script(code, "thread_monitor") as process:
        (port,) = hear(process)
        with socket.create_connection((HOST, port), 20) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            tell(process)
            (share,) = hear(process)
            assert client.recv(12) == b"HTTP/1.1 200"
        assert share < 0.8, "of a core: a loop that does not wait takes all of one"
        tell(process)
        assert process.wait(20) == 0


@pytest.mark.parametrize("module", ["process_monitor", "thread_monitor"])
def test_serving_loads_no_library(module: str) -> None:
    """Neither prometheus_client nor TLS, megabytes each, come into the watched process."""
    code = """
    with PrometheusMonitor(0, 1, host="127.0.0.1") as monitor:
        with socket.create_connection(("127.0.0.1", monitor.port), 20) as client:
            client.sendall(b"GET /metrics HTTP/1.1\\r\\n\\r\\n")
            status = client.recv(12).decode()
        say(status, "prometheus_client" in sys.modules, "ssl" in sys.modules)
    """
    with script(code, module) as process:
        assert hear(process) == ["HTTP/1.1 200", False, False]


# Wrong arguments


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"port": "8003"}, TypeError, "port must be a whole number, got '8003' (str)"),
        ({"port": 8003.0}, TypeError, "port must be a whole number, got 8003.0 (float)"),
        ({"port": True}, TypeError, "port must be a whole number, got True (bool)"),
        ({"port": None}, TypeError, "port must be a whole number, got None (NoneType)"),
        ({"port": -1}, ValueError, "port must be from 0 to 65535, got -1"),
        ({"port": 70000}, ValueError, "to 65535, got 70000"),
        ({"host": None}, TypeError, "host must be a string, got None (NoneType)"),
        ({"host": 127}, TypeError, "host must be a string, got 127 (int)"),
        ({"labels": {"a-b": "x"}}, ValueError, "label 'a-b' must begin with a letter"),
        ({"labels": {"7": "x"}}, ValueError, "label '7' must begin with a letter"),
        ({"labels": {"": "x"}}, ValueError, "label '' must begin with a letter"),
        ({"labels": {"site\n": "x"}}, ValueError, "label 'site\\n' must begin with a letter"),
        ({"labels": {"größe": "x"}}, ValueError, "label 'größe' must begin with a letter"),
        ({"labels": {"__name__": "x"}}, ValueError, "label '__name__' is taken"),
        ({"labels": {"rail": "x"}}, ValueError, "label 'rail' is taken"),
        ({"labels": {"component": "x"}}, ValueError, "choose another name"),
        ({"labels": {"version": "x"}}, ValueError, "label 'version' is taken"),
        ({"labels": {"le": "x"}}, ValueError, "label 'le' is taken"),
        ({"labels": {"site": 7}}, TypeError, "label 'site' must be a string, got 7 (int)"),
        ({"labels": {"site": "\ud800"}}, ValueError, "label 'site' must be text that UTF-8 can carry"),
        ({"identifier": "\ud800"}, ValueError, "label 'identifier' must be text that UTF-8 can carry"),
        ({"certfile": "/no/such/cert.pem"}, ValueError, "certfile must be a PEM file that exists, got '/no/such/cert"),
        ({"certfile": ""}, ValueError, "certfile must be a PEM file that exists, got ''"),
        ({"keyfile": __file__}, ValueError, "needs a certfile; give certfile= as well"),
        ({"certfile": __file__, "keyfile": "/no/key"}, ValueError, "keyfile must be a PEM file that exists"),
        ({"username": "me"}, ValueError, "got username='me' and no password; give both, or neither"),
        ({"password": "secret"}, ValueError, "got username=None and a password; give both, or neither"),
        ({"username": "me", "password": ""}, ValueError, "an empty password; give both, or neither"),
        ({"username": "m:e", "password": "x"}, ValueError, "username must not hold a colon, got 'm:e'"),
        ({"username": "me", "password": 7}, TypeError, "password must be a string"),
    ],
)
def test_a_wrong_argument_is_refused_by_the_constructor(
    variant: Callable[..., Monitor], options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    """With its value and the way out, and never with a password."""
    with pytest.raises(kind) as refusal:
        variant(**{"port": 0, "interval": 1, **options})
    assert text in str(refusal.value)
    assert "secret" not in str(refusal.value)
