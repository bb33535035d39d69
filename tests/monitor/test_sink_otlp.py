"""OtlpSink against receivers built from OpenTelemetry's own messages: every sample arrives, under its official name."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.semconv.schemas import Schemas
from otlp_receiver import Received, grpc_receiver, http_receiver, rejecting
from prometheus_server import self_signed
from servers import FaultyServer, free_port
from waiting import burn, wait_for

from heflwr.monitor import Monitor
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import MISSING, Run, Sample
from heflwr.monitor.sinks import _sender
from heflwr.monitor.sinks._otlp_names import CONVENTIONS, SCHEMA_URL, Instrument, convention
from heflwr.monitor.sinks.otlp import OtlpSink

DOCS = (Path(__file__).parents[2] / "docs" / "opentelemetry.md").read_text()

RECEIVERS: dict[str, Callable[[], AbstractContextManager[Received]]] = {"http": http_receiver, "grpc": grpc_receiver}

BOTH = pytest.mark.parametrize("protocol", RECEIVERS)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached without a proxy; requests of this process come one after the other, to save time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(_sender, "BATCH_SECONDS", 0.05)
    monkeypatch.setattr(_sender, "BACKOFF_SECONDS", (0.02, 0.1))


def facts(monitor: Monitor) -> dict[str, Any]:
    return monitor.health.sinks[0]


def as_streams(monitor: Monitor) -> dict[Any, list[tuple[int, float | int]]]:
    """Return the monitor's own samples as OpenTelemetry shows them: renamed, in base units, counters summed up."""
    found: dict[Any, list[tuple[int, float | int]]] = {}
    sums: dict[str, float] = {}
    for sample in monitor.samples():
        for metric in monitor.metrics:
            value = sample[metric.name]
            named = CONVENTIONS[metric.name]
            if value is not None:
                if named.instrument is Instrument.COUNTER:
                    value = sums[metric.name] = sums.get(metric.name, 0) + value
                time_ns = round(float(sample["time"] or 0) * 1e6) * 1000
                scaled = int(value) if metric.whole else value * named.scale
                found.setdefault((named.name, named.attributes), []).append((time_ns, scaled))
    return found


def official() -> dict[str, tuple[str, str]]:
    """Return kind and unit of every metric that the conventions' own package can make."""
    found: dict[str, tuple[str, str]] = {}

    class Meter:
        def __getattr__(self, name: str) -> Any:
            kind = name.removeprefix("create_").removeprefix("observable_")
            return lambda name, *_, unit, **__: found.__setitem__(name, (kind, unit))

    for module in ("process_metrics", "system_metrics", "hw_metrics"):
        makers = vars(importlib.import_module(f"opentelemetry.semconv._incubating.metrics.{module}"))
        for name, make in makers.items():
            if name.startswith("create_"):
                make(*[Meter(), ()][: make.__code__.co_argcount])
    return found


def test_every_metric_has_an_official_name_with_its_kind_and_unit() -> None:
    """The table has a row a metric, and each is a metric of the semantic conventions, as these define it."""
    known = official()
    assert CONVENTIONS.keys() == {metric.name for metric in METRICS}
    for metric in METRICS:
        for sources in ({}, {"network": "TCP sockets of the process tree (sock_diag)"}):
            named = convention(metric.name, sources)
            assert known[named.name] == (named.instrument.value, named.unit), metric.name
    assert SCHEMA_URL in {schema.value for schema in Schemas}


def test_no_two_metrics_are_one_stream() -> None:
    """Metrics of one name differ in an attribute, and agree in all else."""
    rows = list(CONVENTIONS.values())
    assert len({(row.name, row.attributes) for row in rows}) == len(rows)
    assert len({(row.name, row.unit, row.instrument, row.description) for row in rows}) == len({r.name for r in rows})


def test_the_docs_have_the_table_and_sinks_that_work() -> None:
    """Every row of the table is in docs/opentelemetry.md, whose sinks can be made."""
    for name, row in CONVENTIONS.items():
        told = ", ".join(f"`{key}={value}`" for key, value in row.attributes)
        assert f"| `{name}` | `{row.name}` | {row.instrument.value.replace('_', ' ')} | `{row.unit}` | {told} |" in DOCS
    (block,) = re.findall(r"```python\n(.*?)```", DOCS, re.S)
    exec(block, {})


@pytest.mark.parametrize("runner", ["process", "thread"])
@BOTH
def test_a_receiver_holds_what_the_monitor_measured(protocol: str, runner: str) -> None:
    """Every sample arrives with its time, value, unit and kind, and with who sent it."""
    with RECEIVERS[protocol]() as received:
        sink = OtlpSink(received.url, protocol=protocol, resource={"service.name": "trainer", "fold": 3})
        monitor = Monitor([sink], interval=0.02, runner=runner, identifier='client 7, "é=中🌡"')
        monitor.set_metrics(threads=True, disk=True)
        with monitor:
            burn(0.1)
            wait_for(lambda: facts(monitor)["sent"])
        assert received.streams() == as_streams(monitor)
        known = official()
        assert all(known[name] == kind for name, kind in received.kinds().items())
        (start,) = received.starts()
        assert start <= received.streams()[("process.cpu.time", ())][0].time_ns
        who = received.resource()
    assert who.pop("heflwr.run").isalnum()
    assert who == {
        "service.name": "trainer",
        "service.instance.id": 'client 7, "é=中🌡"',
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
        "heflwr.identifier": 'client 7, "é=中🌡"',
        "fold": 3,
    }
    told = facts(monitor)
    assert told["sent"] == len(monitor.samples())
    assert (told["waiting"], told["dropped"], told["rejected_points"], told["last_error"]) == (0, 0, 0, "")
    assert monitor.health.errors == {}


def test_opentelemetry_s_own_exporter_sends_the_same() -> None:
    """What the SDK makes of the conventions' instruments has the names, kinds, units and temporality that ours has."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.semconv._incubating.metrics import process_metrics, system_metrics

    with http_receiver() as theirs, http_receiver() as ours:
        exporter = OTLPMetricExporter(endpoint=f"{theirs.url}/v1/metrics")
        provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=1e9)])
        meter = provider.get_meter("theirs")
        process_metrics.create_process_cpu_time(meter).add(0.5)
        process_metrics.create_process_memory_usage(meter).add(2**20)
        process_metrics.create_process_thread_count(meter).add(3)
        system_metrics.create_system_network_io(meter).add(7, {"network.io.direction": "transmit"})
        provider.shutdown()
        monitor = Monitor([OtlpSink(ours.url)], interval=0.05, runner="thread")
        monitor.set_metrics(threads=True)
        with monitor:
            wait_for(lambda: facts(monitor)["sent"])
        assert theirs.kinds().items() <= ours.kinds().items()
        assert theirs.streams().keys() <= ours.streams().keys()
        assert theirs.resource().keys() & ours.resource().keys() >= {"service.name"}


@BOTH
def test_headers_travel_with_every_request_and_nowhere_else(protocol: str) -> None:
    """A token reaches the receiver; health does not tell it."""
    with RECEIVERS[protocol]() as received:
        sink = OtlpSink(received.url, protocol=protocol, headers={"Authorization": "Bearer s3cret", "X-Scope": "lab"})
        with Monitor([sink], interval=0.05, runner="thread") as monitor:
            wait_for(lambda: facts(monitor)["sent"])
        assert received.headers
        for headers in received.headers:
            assert (headers["authorization"], headers["x-scope"]) == ("Bearer s3cret", "lab")
    assert "s3cret" not in repr(monitor.health)


def test_grpc_over_tls_trusts_the_named_authority(tmp_path: Path) -> None:
    """With the receiver's own certificate as authority samples arrive; without it they wait, and health says so."""
    certfile, keyfile = self_signed(tmp_path)
    credentials = grpc.ssl_server_credentials([(keyfile.read_bytes(), certfile.read_bytes())])
    with grpc_receiver(credentials=credentials) as received:
        options: dict[str, Any] = {"protocol": "grpc", "timeout": 2}
        right = Monitor([OtlpSink(received.url, verify=certfile, **options)], interval=0.05, runner="thread")
        wrong = Monitor([OtlpSink(received.url, flush_seconds=0, **options)], interval=0.05, runner="thread")
        with right, wrong:
            wait_for(lambda: facts(right)["sent"])
            wait_for(lambda: facts(wrong)["last_error"])
    assert facts(wrong)["sent"] == 0


def test_counters_stand_where_a_reading_is_missing_and_never_fall() -> None:
    """A rail below zero, a missing value and one that no integer holds leave totals and the request whole."""
    columns = tuple(metric for metric in METRICS if metric.name in ("energy_vdd_in", "memory_bytes", "cpu_usage"))
    run = Run("client", "run", 1, 1.7e9, 1.0, columns, host="board")
    with http_receiver() as received:
        sink = OtlpSink(received.url)
        sink.open(run)
        for number, values in enumerate([(9.0, 2.0, 50.0), (2.0**63, -3.0, MISSING), (7.0, 4.0, float("inf"))]):
            usage = values[2]
            row = {"memory_bytes": values[0], "energy_vdd_in": 1e3 * values[1], "cpu_usage": usage}
            sink.write(Sample(number, 1.7e9 + number, number, tuple(row[metric.name] for metric in columns)))
        sink.close()
        streams = {name: points for (name, _), points in received.streams().items()}
        assert streams["hw.host.energy"] == [
            (1700000000_000000000 + k * 10**9, v) for k, v in enumerate([2.0, 2.0, 3.0])
        ]
        assert [(point.time_ns // 10**9 % 10, point.value) for point in streams["process.memory.usage"]] == [
            (0, 9),
            (2, 7),
        ]
        assert [point.value for point in streams["process.cpu.utilization"]] == [0.5]
        assert received.starts() == {1700000000_000000000}


def test_the_process_s_own_traffic_has_the_process_s_name() -> None:
    """With network="process" it is process.network.io, else system.network.io."""
    with http_receiver() as received:
        sink = OtlpSink(received.url)
        with Monitor([sink], interval=0.05, runner="thread", network="process", loopback=True) as monitor:
            wait_for(lambda: facts(monitor)["sent"])
        names = {name for name, _ in received.streams()}
    assert "process.network.io" in names
    assert "system.network.io" not in names


def test_samples_wait_while_a_receiver_says_later() -> None:
    """After 503 and 429 the same samples are sent again, and each arrives once."""
    statuses = [503, 429, 404]
    with http_receiver(lambda number: (statuses[number] if number < 3 else 200, b"")) as received:
        with Monitor([OtlpSink(received.url)], interval=0.02, runner="thread") as monitor:
            wait_for(lambda: facts(monitor)["sent"] >= 10)
        assert len(received.streams()[("process.cpu.time", ())]) == len(monitor.samples())
    told = facts(monitor)
    assert (told["sent"], told["dropped"]) == (len(monitor.samples()), 0)


def test_samples_wait_while_a_grpc_receiver_says_later() -> None:
    """UNAVAILABLE, and RESOURCE_EXHAUSTED with the advice to come again, cost no sample."""

    def answer(number: int, context: grpc.ServicerContext) -> ExportMetricsServiceResponse:
        if number == 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "in a moment")
        if number == 1:
            details = b"\x08\x08\x1a\x2a\x0a\x28type.googleapis.com/google.rpc.RetryInfo"  # Status(8, [Any(RetryInfo)])
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "less, please")
        return ExportMetricsServiceResponse()

    with grpc_receiver(answer) as received:
        with Monitor([OtlpSink(received.url, protocol="grpc")], interval=0.02, runner="thread") as monitor:
            wait_for(lambda: facts(monitor)["sent"] >= 10)
        assert len(received.streams()[("process.cpu.time", ())]) == len(monitor.samples())
    assert facts(monitor)["dropped"] == 0
    assert facts(monitor)["last_error"].endswith("answered RESOURCE_EXHAUSTED: less, please")


def test_what_a_receiver_will_never_take_is_given_up_and_counted() -> None:
    """A 400 says that sending again is no use: its message is in health, samples count as dropped."""
    status = b"\x08\x03\x12\x0bbad samples"  # google.rpc.Status(code=3, message=...)
    with (
        http_receiver(lambda number: (400, status)) as received,
        Monitor([OtlpSink(received.url)], interval=0.02, runner="thread") as monitor,
    ):
        told = wait_for(lambda: facts(monitor)["dropped"] >= 5 and facts(monitor))
    assert told["last_error"].endswith("answered 400: bad samples")
    assert told["sent"] == 0


def test_what_a_grpc_receiver_will_never_take_is_given_up_and_counted() -> None:
    """INVALID_ARGUMENT, as a 400."""

    def answer(number: int, context: grpc.ServicerContext) -> ExportMetricsServiceResponse:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad samples")
        raise AssertionError("abort() raises")

    with (
        grpc_receiver(answer) as received,
        Monitor([OtlpSink(received.url, protocol="grpc")], interval=0.02, runner="thread") as monitor,
    ):
        told = wait_for(lambda: facts(monitor)["dropped"] >= 5 and facts(monitor))
    assert told["last_error"].endswith("INVALID_ARGUMENT: bad samples")


def test_points_that_a_receiver_rejected_are_counted() -> None:
    """A partial success is not sent again; how many points it cost, and why, is in health."""
    with http_receiver(rejecting(2, "too old")) as received:
        with Monitor([OtlpSink(received.url)], interval=0.05, runner="thread") as monitor:
            wait_for(lambda: facts(monitor)["sent"] >= 5)
        times = [point.time_ns for point in received.streams()[("process.cpu.time", ())]]
    told = facts(monitor)
    assert told["rejected_points"] == 2 * len(received.requests)
    assert told["last_error"] == "too old"
    assert len(times) == len(set(times)) == told["sent"]


def test_what_is_no_receiver_gets_no_credit() -> None:
    """A page of another server, answered with 200, is no receipt: samples wait."""
    with (
        http_receiver(lambda number: (200, b"<html>hello</html>")) as received,
        Monitor([OtlpSink(received.url, flush_seconds=0)], interval=0.05, runner="thread") as monitor,
    ):
        told = wait_for(lambda: facts(monitor)["last_error"] and facts(monitor))
    assert told["last_error"].endswith("answered 200, but not as an OTLP receiver does")
    assert told["sent"] == 0


@BOTH
def test_sampling_does_not_wait_for_a_receiver_that_hangs(protocol: str) -> None:
    """Requests that are never answered cost the loop nothing, and stop() no more than flush_seconds."""
    with FaultyServer() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        address = server.address if protocol == "http" else f"127.0.0.1:{silent.getsockname()[1]}"
        sink = OtlpSink(f"http://{address}", protocol=protocol, timeout=600, flush_seconds=0.2)
        with Monitor([sink], interval=0.02) as monitor:
            before = len(monitor.samples())
            wait_for(lambda: len(monitor.samples()) >= before + 20)
            began = time.monotonic()
        assert time.monotonic() - began < 5
    assert monitor.failure == ""
    assert facts(monitor)["dropped"] == len(monitor.samples())


@BOTH
def test_a_receiver_that_comes_later_gets_everything(protocol: str, tmp_path: Path) -> None:
    """What a run could not send waits in the spool with its names and times; the next run sends it first, if whole."""
    port, spool = free_port(), tmp_path / "spool"
    away = Monitor(
        [OtlpSink(f"http://127.0.0.1:{port}", protocol=protocol, spool=spool, flush_seconds=0)],
        interval=0.05,
        runner="thread",
    )
    with away:
        wait_for(lambda: facts(away)["last_error"])
    assert facts(away)["spooled"] == len(away.samples())
    (home,) = spool.iterdir()
    (segment,) = home.glob("*/*.jsonl")
    with segment.open("a") as file:
        file.write('[17000\0\0\0\0]\n["spoilt"]\n')  # as a power cut may leave it
    with RECEIVERS[protocol]() as received:
        home.rename(home.with_name(home.name.replace(str(port), received.url.rpartition(":")[2])))
        late = Monitor([OtlpSink(received.url, protocol=protocol, spool=spool)], interval=0.05, runner="thread")
        with late:
            wait_for(lambda: facts(late)["sent"] > len(away.samples()) + 2)
        names = [
            attribute for request in received.requests for attribute in request.resource_metrics[0].resource.attributes
        ]
        told = [attribute.value.string_value for attribute in names if attribute.key == "heflwr.identifier"]
        assert (told[0], told[-1]) == (away.identifier, late.identifier)
        arrived = received.streams()[("process.cpu.time", ())]
    assert len(arrived) == len(away.samples()) + len(late.samples())


def test_a_grpc_sink_gives_its_handles_back() -> None:
    """After the first use, which leaves gRPC's own, no use leaves a thread or a descriptor more."""
    columns = METRICS[:2]

    def use(number: int) -> tuple[int, int]:
        sink.open(Run("client", f"run{number}", 1, 1.7e9, 1.0, columns))
        sink.write(Sample(0, 1.7e9, 0.0, (1.0, 2.0)))
        sink.close()
        assert sink.facts()["sent"] == 1
        return handles()

    def handles() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    with grpc_receiver() as received:
        sink = OtlpSink(received.url, protocol="grpc")
        use(0)
        after = use(1)
        for number in range(2, 5):
            use(number)
        wait_for(lambda: all(now <= then for now, then in zip(handles(), after, strict=True)), what=f"{after} handles")


def test_a_sink_that_is_not_open_imports_nothing() -> None:
    """A trainer that hands its sink to the sampling child has neither protobufs nor gRPC in its memory."""
    code = (
        "import sys; from heflwr.monitor.sinks.otlp import OtlpSink; OtlpSink('http://x:1', protocol='grpc')\n"
        "print([name for name in ('google', 'opentelemetry', 'grpc', 'requests') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_what_is_not_installed_is_named_by_start() -> None:
    """Without the extra start() says what to install."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from heflwr.monitor import Monitor, SinkUnavailable; from heflwr.monitor.sinks.otlp import OtlpSink\n"
        "try: Monitor([OtlpSink('http://127.0.0.1:1')], runner='thread').start()\n"
        "except SinkUnavailable as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("cannot write OTLP: ")
    assert result.stdout.endswith("; pip install 'heflwr[otlp]'\n")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"url": 4318}, TypeError, "url must be a string, got 4318"),
        ({"url": "ftp://host"}, ValueError, "url must be an address, got 'ftp://host'"),
        ({"url": "host"}, ValueError, "url has no port"),
        ({"url": "http://host:4318/v1/metrics"}, ValueError, "url is without /v1/metrics"),
        ({"url": "http://host:4317/path", "protocol": "grpc"}, ValueError, "gRPC has no path"),
        ({"protocol": "udp"}, ValueError, "protocol must be one of 'http', 'grpc'"),
        ({"protocol": "grpc", "verify": False}, ValueError, "gRPC always checks certificates"),
        ({"headers": {"Content-Type": "x"}}, ValueError, "headers cannot have 'Content-Type'"),
        ({"headers": {"a b": "x"}}, ValueError, "headers cannot have 'a b'"),
        ({"headers": {"token": "se\ncret"}}, ValueError, "header 'token' must be visible ASCII"),
        (
            {"headers": {"X-Trace-Bin": "x"}, "protocol": "grpc"},
            ValueError,
            "headers cannot have names that end in '-bin'",
        ),
        ({"headers": {"token": 5}}, TypeError, "headers must be strings, got 'token': int"),
        ({"resource": {"a": None}}, TypeError, "resource must be names with text, truth values or numbers"),
        ({"resource": {"": "x"}}, ValueError, "resource must have names that can be read"),
        ({"resource": {"a": float("nan")}}, ValueError, "resource 'a' must be finite, got nan"),
        ({"resource": {"a": 2**63}}, ValueError, "resource 'a' must fit into 64 bits"),
        ({"verify": 1}, TypeError, "verify must be True, False or a path"),
        ({"timeout": 0}, ValueError, "timeout must be from"),
        ({"flush_seconds": -1}, ValueError, "flush_seconds must be from 0"),
    ],
)
def test_a_wrong_argument_is_named_by_the_constructor(given: dict[str, Any], error: type[Exception], text: str) -> None:
    """Raised in the caller's thread, with the way out, and never with a secret."""
    with pytest.raises(error, match=re.escape(text)) as raised:
        OtlpSink(**{"url": "http://127.0.0.1:4318", **given})
    assert "se\ncret" not in str(raised.value)
