"""InfluxSink against real servers that speak line protocol: every sample arrives, with its time, under its name."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from influx_servers import Influx, VictoriaMetrics, influxdb, victoria_metrics
from servers import FaultyServer, collector, free_port, reply
from waiting import wait_for

from heflwr.monitor import Monitor, SinkUnavailable
from heflwr.monitor.sinks import _sender
from heflwr.monitor.sinks.influx import InfluxSink
from heflwr.monitor.sinks.remote import RemoteSink

DOCS = (Path(__file__).parents[2] / "docs" / "influx.md").read_text()

IDENTIFIER = 'client 7, "é=中🌡"\\x'


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached without a proxy; requests of this process come one after the other, to save time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(_sender, "BATCH_SECONDS", 0.05)
    monkeypatch.setattr(_sender, "BACKOFF_SECONDS", (0.02, 0.1))


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Yield an InfluxDB with the database "heflwr", shared by tests that use identifiers of their own."""
    with influxdb(tmp_path_factory.mktemp("influx")) as server:
        yield server


def facts(monitor: Monitor) -> dict[str, Any]:
    return monitor.health.sinks[0]


def as_points(monitor: Monitor) -> list[dict[str, Any]]:
    """Return the monitor's own samples as InfluxDB shows them: nanoseconds, and only what has a value."""
    return [
        {
            "time": round(float(sample["time"] or 0) * 1e6) * 1000,
            **{name: value for name, value in sample.items() if name not in ("time", "elapsed") and value is not None},
        }
        for sample in monitor.samples()
    ]


def points(influx: Influx, identifier: str, **access: str) -> list[dict[str, Any]]:
    """Return what InfluxDB holds of a client, in order, without tags and what has no value."""
    quoted = identifier.replace("\\", "\\\\").replace("'", "\\'")
    found = influx.query(f"SELECT * FROM heflwr WHERE identifier = '{quoted}'", db="heflwr", **access)
    tags = ("identifier", "run", "host")
    return [{name: value for name, value in row.items() if value is not None and name not in tags} for row in found]


def test_the_docs_say_what_works(influx: Influx) -> None:
    """The sinks of docs/influx.md can be made, and its statements find what such a sink wrote."""
    exec(re.findall(r"```python\n(.*?)```", DOCS, re.S)[0], {})
    with Monitor(
        [InfluxSink(influx.url, database="heflwr")], interval=0.05, runner="thread", identifier="docs"
    ) as monitor:
        wait_for(lambda: facts(monitor)["sent"] > 3)
    statements = re.findall(r"^    (SELECT .+)$", DOCS, re.M)
    assert len(statements) == 2
    for statement in statements:
        assert influx.query(statement, db="heflwr"), statement


@pytest.mark.parametrize("simple", [True, False])
def test_a_collector_holds_the_same_from_both_sinks(tmp_path: Path, simple: bool) -> None:
    """Samples in line protocol are those of the remote sink: where both send, every second one is a duplicate."""
    with collector(tmp_path / "heflwr.db") as collected:
        sinks = [InfluxSink(collected.url), RemoteSink(collected.url, simple=simple)]
        monitor = Monitor(sinks, interval=0.05, runner="thread", identifier=IDENTIFIER)
        with monitor:
            wait_for(lambda: all(sink["sent"] > 5 for sink in monitor.health.sinks))
        found = sorted(collected.samples(identifier=IDENTIFIER), key=lambda sample: sample["sequence"])
    assert [sink["sent"] for sink in monitor.health.sinks] == [len(found)] * 2
    assert [sample["values"] for sample in found] == [
        {name: value for name, value in sample.items() if name not in ("sequence", "time", "elapsed")}
        for sample in monitor.samples()
    ]
    assert [sample["time"] for sample in found] == pytest.approx([s["time"] for s in monitor.samples()], abs=1e-6)


@pytest.mark.parametrize("secret", [{"token": "s3cret"}, {"username": "who", "password": "s3cret"}, {}])
def test_a_collector_lets_in_who_has_its_token(tmp_path: Path, secret: dict[str, str]) -> None:
    """As InfluxDB's token or as a password; without it samples wait, and health says why."""
    with collector(tmp_path / "heflwr.db", token="s3cret") as collected:
        monitor = Monitor([InfluxSink(collected.url, flush_seconds=0, **secret)], interval=0.05, runner="thread")
        with monitor:
            told = wait_for(lambda: (facts(monitor)["sent"] or facts(monitor)["last_error"]) and facts(monitor))
    assert bool(told["sent"]) is bool(secret)
    assert ("answered 401" in told["last_error"]) is not bool(secret)


@pytest.mark.parametrize("runner", ["process", "thread"])
def test_influxdb_holds_what_the_monitor_measured(influx: Influx, runner: str) -> None:
    """Every sample arrives over HTTP with its sequence, time, values and types, under any identifier."""
    identifier = f"{runner} {IDENTIFIER}"
    sink = InfluxSink(influx.url, database="heflwr")
    monitor = Monitor([sink], interval=0.02, runner=runner, identifier=identifier)
    monitor.set_metrics(threads=True, disk=True)
    with monitor:
        wait_for(lambda: facts(monitor)["sent"] >= 20)
    told = facts(monitor)
    assert points(influx, identifier) == as_points(monitor)
    assert {name: told[name] for name in ("sink", "url", "waiting", "dropped", "last_error")} == {
        "sink": "influx",
        "url": influx.url,
        "waiting": 0,
        "dropped": 0,
        "last_error": "",
    }
    assert told["sent"] == len(monitor.samples())
    kinds = {row["fieldKey"]: row["fieldType"] for row in influx.query("SHOW FIELD KEYS FROM heflwr", db="heflwr")}
    assert kinds == {
        "sequence": "integer",
        **{metric.name: "integer" if metric.whole else "float" for metric in monitor.metrics},
    }


def test_influxdb_holds_what_came_over_udp(influx: Influx) -> None:
    """A datagram a sample: on this machine none is lost."""
    monitor = Monitor([InfluxSink(influx.udp_url)], interval=0.02, runner="thread", identifier="udp")
    with monitor:
        wait_for(lambda: facts(monitor)["sent"] >= 20)
    expected = as_points(monitor)
    assert facts(monitor)["sent"] == len(expected)
    wait_for(lambda: len(points(influx, "udp")) == len(expected), what="the last datagram")
    assert points(influx, "udp") == expected


def test_influxdb_lets_in_who_knows_the_password(tmp_path: Path) -> None:
    """With name and password samples arrive; with a wrong one they wait, and health says why but not the password."""
    admin = ("admin", "s3cret,wört")
    with influxdb(tmp_path / "influx", admin=admin) as influx:
        options: dict[str, Any] = {"interval": 0.05, "runner": "thread"}
        right = Monitor([InfluxSink(influx.url, username=admin[0], password=admin[1])], identifier="right", **options)
        wrong = Monitor([InfluxSink(influx.url, username=admin[0], password="gu3ss")], identifier="wrong", **options)
        with right, wrong:
            wait_for(lambda: facts(right)["sent"] > 3)
            told = wait_for(lambda: facts(wrong)["last_error"] and facts(wrong))
        access = {"u": admin[0], "p": admin[1]}
        assert points(influx, "right", **access) == as_points(right)
        assert points(influx, "wrong", **access) == []
    assert "answered 401: authorization failed" in told["last_error"]
    assert "gu3ss" not in repr(told)
    assert told["dropped"] == 0


def test_a_server_that_comes_later_gets_everything(tmp_path: Path) -> None:
    """A killed client's spool, and a database that is made later, cost no sample: the next run sends all of it once."""
    port, spool = free_port(), tmp_path / "spool"
    options: dict[str, Any] = {"interval": 0.05, "runner": "thread"}
    away = Monitor([InfluxSink(f"127.0.0.1:{port}", spool=spool, flush_seconds=0)], identifier="away", **options)
    with away:
        wait_for(lambda: "cannot reach" in facts(away)["last_error"])
    assert facts(away)["spooled"] == len(away.samples())
    (home,) = spool.iterdir()
    with influxdb(tmp_path / "influx", database="other") as influx:
        home.rename(home.with_name(home.name.replace(str(port), influx.url.rpartition(":")[2])))
        late = Monitor([InfluxSink(influx.url, spool=spool)], identifier="late", **options)
        with late:
            wait_for(lambda: "database not found" in facts(late)["last_error"])
            influx.query("CREATE DATABASE heflwr")
            wait_for(lambda: facts(late)["sent"] > len(away.samples()))
        assert points(influx, "away") == as_points(away)
        assert points(influx, "late") == as_points(late)


def test_a_point_that_the_database_refuses_is_given_up_alone(influx: Influx) -> None:
    """A field that has another type there is refused point by point and counted; health says why."""
    influx.query("CREATE DATABASE typed")
    with socket.create_connection(("127.0.0.1", int(influx.url.rpartition(":")[2]))) as raw:
        body = b'heflwr,identifier=x cpu_usage="text"'
        head = f"POST /write?db=typed HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        raw.sendall(head.encode() + body)
        assert b"204" in raw.recv(100)
    monitor = Monitor([InfluxSink(influx.url, database="typed")], interval=0.02, runner="thread")
    with monitor:
        told = wait_for(lambda: facts(monitor)["dropped"] >= 3 and facts(monitor))
    assert "field type conflict" in told["last_error"]
    assert told["sent"] == 0


def test_victoria_metrics_holds_what_the_monitor_measured(tmp_path: Path) -> None:
    """Each metric is a series named heflwr_<metric> with our tags as labels, every value at its millisecond."""
    with victoria_metrics(tmp_path / "victoria") as victoria:
        monitor = Monitor([InfluxSink(victoria.url)], interval=0.05, runner="thread", identifier=IDENTIFIER)
        with monitor:
            wait_for(lambda: facts(monitor)["sent"] >= 20)
        samples = as_points(monitor)
        wait_for(lambda: _length(victoria, "heflwr_sequence") == len(samples), what="the last sample")
        found = victoria.export('{__name__=~"heflwr_.+"}')
        by_name = {series["metric"]["__name__"]: series for series in found}
        assert by_name.keys() == {f"heflwr_{name}" for name in ("sequence", *(m.name for m in monitor.metrics))}
        usage = by_name["heflwr_cpu_usage"]
        assert usage["metric"]["identifier"] == IDENTIFIER
        assert usage["metric"]["run"].isalnum()
        # It keeps milliseconds and 12 digits; samples of one millisecond, as the last one may be, are in no order.
        sent = sorted((sample["time"] // 1_000_000, sample["cpu_usage"]) for sample in samples)
        kept = sorted(zip(usage["timestamps"], usage["values"], strict=True))
        assert [time for time, _ in kept] == [time for time, _ in sent]
        assert [value for _, value in kept] == pytest.approx([value for _, value in sent], rel=1e-9)


def _length(victoria: VictoriaMetrics, name: str) -> int:
    return sum(len(series["values"]) for series in victoria.export(name))


def test_version_2_is_asked_in_its_own_way() -> None:
    """Bucket, organisation and token go where InfluxDB 2 expects them; 204 counts, and another 2xx does not."""
    statuses = [200, 204]

    def answer(handler: Any, body: bytes) -> None:
        reply(handler, statuses.pop(0) if len(statuses) > 1 else statuses[0])

    with FaultyServer(answer) as server:
        sink = InfluxSink(f"http://{server.address}/behind", bucket="a b", org="o/1", token="t0ken")
        monitor = Monitor([sink], interval=0.05, runner="thread", identifier="v2")
        with monitor:
            told = wait_for(lambda: facts(monitor)["last_error"] and facts(monitor))
            assert told["sent"] == 0
            assert told["last_error"].endswith("answered 200, but not as InfluxDB does")
            wait_for(lambda: facts(monitor)["sent"] > 0)
    path, headers, _ = server.requests[0]
    assert path == "/behind/api/v2/write?bucket=a+b&org=o%2F1&precision=ns"
    assert headers["Authorization"] == "Token t0ken"


def test_nobody_at_the_other_end_of_udp_is_counted() -> None:
    """Where the system says that nobody listens, datagrams count as dropped and sampling goes on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monitor = Monitor([InfluxSink(f"udp://127.0.0.1:{port}")], interval=0.02, runner="thread")
    with monitor:
        told = wait_for(lambda: facts(monitor)["dropped"] > 3 and facts(monitor))
    assert told["last_error"] == f"nobody listens at udp://127.0.0.1:{port}"
    assert told["sent"] + told["dropped"] <= len(monitor.samples())
    assert monitor.health.errors == {}


def test_a_host_that_has_no_address_is_named_by_start() -> None:
    """UDP needs the address at once: a name that does not resolve is an error of start()."""
    with pytest.raises(SinkUnavailable, match=r"cannot send to udp://no\.such\.name\.invalid:1: .*; give another"):
        Monitor([InfluxSink("udp://no.such.name.invalid:1")], runner="thread").start()


def test_sampling_does_not_wait_for_a_server_that_hangs() -> None:
    """Requests that are never answered cost the sampling loop nothing, and stop() no more than flush_seconds."""
    with FaultyServer() as server:
        monitor = Monitor([InfluxSink(f"http://{server.address}", timeout=600, flush_seconds=0.2)], interval=0.02)
        with monitor:
            wait_for(lambda: server.requests)
            before = len(monitor.samples())
            wait_for(lambda: len(monitor.samples()) >= before + 20)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert facts(monitor)["dropped"] == len(monitor.samples())


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"url": 8086}, TypeError, "url must be a string, got 8086"),
        ({"url": "ftp://host"}, ValueError, "url must be an address, got 'ftp://host'"),
        ({"url": "host"}, ValueError, "url has no port"),
        ({"url": "udp://host"}, ValueError, "write 'udp://name:port'"),
        ({"url": "udp://host:1/path"}, ValueError, "write 'udp://name:port'"),
        ({"url": "udp://host:99999"}, ValueError, "write 'udp://name:port'"),
        ({"url": "udp://host:1", "database": "x"}, ValueError, "a UDP datagram carries no database"),
        ({"url": "udp://host:1", "token": "x"}, ValueError, "a UDP datagram carries no token"),
        ({"url": "http://u:p@host"}, ValueError, "give a secret as password="),
        ({"database": ""}, ValueError, "database must not be empty"),
        ({"database": 5}, TypeError, "database must be a string, got int"),
        ({"org": "o"}, ValueError, "org needs a bucket"),
        ({"bucket": "b", "database": "d"}, ValueError, "give one kind"),
        ({"bucket": "b", "username": "u", "password": "p"}, ValueError, "give one kind"),
        ({"username": "u"}, ValueError, "give both username= and password="),
        ({"username": "u", "password": "p", "token": "t"}, ValueError, "or token="),
        ({"username": "u", "password": "\ud800"}, ValueError, "password must be text that UTF-8 can carry"),
        ({"token": "a b"}, ValueError, "token must be visible ASCII"),
        ({"verify": 1}, TypeError, "verify must be True, False or a path"),
        ({"timeout": 0}, ValueError, "timeout must be from"),
        ({"flush_seconds": -1}, ValueError, "flush_seconds must be from 0"),
    ],
)
def test_a_wrong_argument_is_named_by_the_constructor(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Raised in the caller's thread, with the way out, and never with a secret."""
    with pytest.raises(error, match=text) as raised:
        InfluxSink(**{"url": "http://127.0.0.1:8086", **arguments})
    assert "\ud800" not in str(raised.value)
