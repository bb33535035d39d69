"""InfluxDB's line protocol as the collector reads it: what InfluxDB itself reads, and refused with a reason else."""

from __future__ import annotations

import math
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from influx_servers import DIRECT, Influx, influxdb

from heflwr.collector.line_protocol import PRECISIONS, parse_lines
from heflwr.collector.records import Refusal, Row, SampleBatch
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.influx import InfluxSink

NOW = 1_763_726_400.25
METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")
RUN = re.compile(r"[0-9A-Za-z_-]{1,64}")


def parse(text: str, **options: Any) -> tuple[SampleBatch, ...]:
    return parse_lines(text.encode(), received=NOW, **options)


def refusal(body: bytes, **options: Any) -> Refusal:
    with pytest.raises(Refusal) as raised:
        parse_lines(body, received=NOW, **options)
    assert raised.value.status == 400
    return raised.value


def outcome(body: bytes) -> tuple[SampleBatch, ...]:
    """Return what is read, nothing where it is refused in a short text."""
    try:
        return parse_lines(body, received=NOW, identifier="x")
    except Refusal as raised:
        refused = raised
    assert refused.status == 400
    assert len(refused.text) < 300
    return ()


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """Yield an InfluxDB whose database "heflwr" is empty."""
    with influxdb(tmp_path_factory.mktemp("influx")) as server:
        yield server


@pytest.fixture(scope="module")
def mailbox() -> Iterator[socket.socket]:
    """Yield a UDP socket that a sink of ours writes to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as box:
        box.bind(("127.0.0.1", 0))
        box.settimeout(20)
        yield box


def test_a_host_s_lines_become_runs_of_one_client() -> None:
    """The tag host names the client, each series is a run, and metrics carry the measurement in front."""
    batches = parse(
        "cpu,cpu=cpu-total,host=board usage_idle=98.5,usage_user=1 1763726400000000000\n"
        "# a comment\n\n"
        'mem,host=board used=5u,free=7i,name="text, with = and\nan end",swap=t 1763726400000000000\r\n'
        "  mem,host=board free=8i,used=6u,swap=FALSE 1763726410000000000"
    )
    cpu, mem, again = batches
    assert (cpu.identifier, cpu.metrics) == ("board", ("cpu_usage_idle", "cpu_usage_user"))
    assert cpu.about == {"host": "board", "sources": {"cpu": "cpu=cpu-total"}}
    assert cpu.rows == (Row(1_763_726_400_000_000, 1_763_726_400.0, (98.5, 1.0)),)
    assert (mem.identifier, mem.run, mem.metrics) == ("board", "mem", ("mem_used", "mem_free", "mem_swap"))
    assert mem.rows[0].values == (5, 7, 1.0)
    assert (again.run, again.metrics) == ("mem", ("mem_free", "mem_used", "mem_swap"))
    assert again.rows == (Row(1_763_726_410_000_000, 1_763_726_410.0, (8, 6, 0.0)),)


def test_lines_of_our_own_sink_are_its_samples() -> None:
    """Identifier, run and sequence are those that the remote sink would have sent, metrics bear their plain names."""
    series = "heflwr,host=board,identifier=client\\ 3,run=9f86d0"
    (batch,) = parse(
        f"{series} sequence=4i,cpu_usage=3.5,memory_bytes=17i 1763726400250000000\n"
        f"{series} sequence=5i,cpu_usage=4,memory_bytes=18i 1763726405250000000"
    )
    assert batch == SampleBatch(
        "client 3",
        "9f86d0",
        ("cpu_usage", "memory_bytes"),
        (Row(4, 1_763_726_400.25, (3.5, 17)), Row(5, 1_763_726_405.25, (4.0, 18))),
        {"host": "board"},
    )


def test_what_lines_say_of_the_same_moment_is_one_sample() -> None:
    """Fields of a series that come in several lines are merged, and the later value stands."""
    (batch,) = parse("m,host=h a=1,b=2 1000\nm,host=h c=3,a=4 1999\n")
    assert (batch.metrics, batch.rows) == (("m_a", "m_b", "m_c"), (Row(1, 1e-6, (4.0, 2.0, 3.0)),))


def test_lines_without_time_or_client_get_those_of_the_request() -> None:
    """The time of arrival, and whoever the request belongs to; strings alone are no sample."""
    (batch,) = parse('m a=1\nm s="text"', identifier="bearer")
    assert (batch.identifier, batch.about) == ("bearer", {})
    assert batch.rows == (Row(round(NOW * 1e6), NOW, (1.0,)),)
    assert "neither a tag identifier nor a tag host" in refusal(b"m a=1").text
    assert parse('m s="text"') == ()
    assert parse(" \r\n#\n") == ()


@pytest.mark.parametrize(("precision", "nanoseconds"), PRECISIONS.items())
def test_times_are_in_the_unit_that_the_request_names(precision: str, nanoseconds: int) -> None:
    """From nanoseconds to hours, by the names of InfluxDB 1 and 2."""
    time = 3_600 * 10**9 * 400_000
    (batch,) = parse(f"m,host=h a=1 {time // nanoseconds}", precision=precision)
    assert batch.rows[0].time == 3_600 * 400_000


def test_series_and_fields_of_any_name_get_names_of_their_own() -> None:
    """Names that a metric or a run cannot have are made readable, and stay apart from each other."""
    names = ["used.percent", "used%percent", "Used_percent", "used_percent", "x" * 100, "x" * 101, "5", "中"]
    (batch,) = parse("m,host=h " + ",".join(f"{name}=1" for name in names))
    assert len(set(batch.metrics)) == len(names)
    assert all(METRIC.fullmatch(metric) for metric in batch.metrics)
    assert batch.metrics[0].startswith("m_used_percent_")
    series = ["disk,path=/", "disk,path=/home", "disk,path=/ho-me", "disk,a=/", "disk", "d" * 100, "d" * 101, "中"]
    runs = [batch.run for batch in parse("\n".join(f"{one} a=1" for one in series), identifier="x")]
    assert len(set(runs)) == len(series)
    assert all(RUN.fullmatch(run) for run in runs)
    assert runs == [batch.run for batch in parse("\n".join(f"{one} a=2" for one in series), identifier="x")]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\xff", "the body is not UTF-8"),
        (b"m,host=a\0b f=1", "the body holds a NUL character"),
        (b"m,host=h a=1\nm", "line 2: there are no fields behind 'm'"),
        (b"m,host=h a=1\n\n# c\nm,host=h\na=1", "line 4: there are no fields"),
        (b"m,host=h ", "line 1: a field must be name=value, got ''"),
        (b"m,host=h a=1,", "a field must be name=value"),
        (b"m,host=h a=1 b=2", "a line must end with its time, an integer, got ' b=2'"),
        (b"m,host=h a=1 1.5", "a line must end with its time"),
        (b"m,host=h a= 1", "a field must be name=value"),
        (b"m,host=h =1", "a field must be name=value"),
        (b'm,host=h a="open', "a field must be name=value"),
        (b'm,host=h a="x"y', "a line must end with its time"),
        (b"m,host=h a=nan", "a value must be a finite number"),
        (b"m,host=h a=Infinity", "a value must be a finite number"),
        (b"m,host=h a=1e400", "a value must be a finite number"),
        (b"m,host=h a=1.7e308", "a value must be a finite number (1e+150 at most)"),
        (b"m,host=h a=0x10", "a value must be a finite number"),
        (b"m,host=h a=1_000", "a value must be a finite number"),
        (b"m,host=h a=1.5i", "a value must be a finite number"),
        (b"m,host=h a=\xd9\xa1", "a value must be a finite number"),
        (b"m,host=h a=yes", "a value must be a finite number"),
        (b",host=h a=1", "a line begins with its measurement"),
        (b"m,host= a=1", "a tag must be name=value"),
        (b"m,host a=1", "a tag must be name=value"),
        (b"m,host=a=b a=1", "a tag must be name=value"),
        (b"m,host=h,host=i a=1", "the tag 'host' is there twice"),
        (b"m,host=h a=1 -1", "the time must be from 1970 to 2200, got -1; is precision= its unit?"),
        (b"m,host=h a=1 99999999999999999999", "the time must be from 1970"),
        (b"m,host=h a=1 999999999999999999999999", "a line must end with its time"),
        (b"heflwr,host=h,run=a/b a=1", "the tag run must match"),
        (b"heflwr,host=h,run=r a=1,sequence=-1i", "the field sequence must be an integer from 0"),
        (b"heflwr,host=h,run=r a=1,sequence=1", "the field sequence must be an integer from 0"),
        (b"m,identifier=" + b"i" * 257 + b" a=1", "identifier (or host) must have at most 256 characters"),
        (b"m,host=h," + b"t" * 2000 + b"=1 a=1", "must have at most 1024 characters"),
        (b"m,host=h " + b"f" * 2000 + b"=1", "must have at most 1024 characters"),
        (b"m" * 9000 + b" a=1", "measurement and tags must have at most 8192 characters"),
        (b"m,host=h " + b",".join(b"f%d=1" % n for n in range(129)), "a line must have at most 128 fields, got 129"),
        (b"\n".join(b"m,host=h f%d=1 1" % n for n in range(129)), "a series must have at most 128 fields, got 129"),
        (b"m,host=h a=1\n" * 10_001, "a body must have at most 10000 lines"),
    ],
)
def test_what_is_not_line_protocol_is_refused_with_its_line(body: bytes, text: str) -> None:
    """Nothing of such a body is taken; the text says where and what, and is short."""
    refused = refusal(body)
    assert text in refused.text
    assert len(refused.text) < 300


def test_an_unknown_precision_is_refused() -> None:
    """The text names those that there are."""
    assert refusal(b"m a=1", precision="years").text == (
        "precision must be one of ns, n, us, u, ms, s, m, h, got 'years'"
    )


READ_ALIKE = [
    r"plain,host=a f=1.5",
    r"es\ ca\,ped,host=a f=1",
    r"equals=sign,host=a f=1",
    r"tags,ho\ st=x,identifier=a\,b\=c\ d f=1",
    r"backslash,identifier=C:\dir\file f=1",
    r"fields,host=a a\ b\,c\=d=1,e\f=2",
    r'strings,host=a f=1,s="a, b=c d",t="quo\"te \\ \x"',
    'ends,host=a f=1,s="two\nlines"',
    r"numbers,host=a a=1i,b=-5i,c=1e3,d=-.5,e=1E+2,f=1.,g=9223372036854775807i,h=1e-400",
    r"truths,host=a a=t,b=T,c=true,d=True,e=TRUE,f=f,g=F,h=false,i=False,j=FALSE",
    r'quoted,host="a" f=1',
    r"unicode,host=中 温度=20.5",
    r"blanks,host=a   f=1   ",
]

REFUSED_ALIKE = [
    "m",
    "m,host=a",
    "m,host= f=1",
    "m,=a f=1",
    ",host=a f=1",
    "m,host=a,host=b f=1",
    "m f=",
    "m =1",
    "m f=1,",
    "m f=1 x",
    "m f=1 1 1",
    'm f="open',
    "m f=abc",
    "m f=1.5i",
    "m f=NaN",
    "m f=+2",
    "m f=.",
    "m f=tRUE",
    "m f==1",
    r"m,host=a\\,b=c f=1",
    "m f=1e400",
    "m f=9223372036854775808i",
]
"""Our reader takes the last one as a float: a counter of 64 bits that Telegraf writes with u in newer versions."""


@pytest.mark.parametrize("line", READ_ALIKE)
def test_a_line_is_read_as_influxdb_reads_it(influx: Influx, line: str) -> None:
    """InfluxDB's own view of a series and its numbers is what the parser makes of it."""
    assert _write(influx, line) == 204
    (batch,) = parse(line)
    key = influx.query("SHOW SERIES", db="heflwr")
    assert len(key) == 1
    measurement = influx.query("SHOW MEASUREMENTS", db="heflwr")[0]["name"]
    (point,) = influx.query("SELECT * FROM /.*/", db="heflwr")
    tags = {row["tagKey"] for row in influx.query("SHOW TAG KEYS", db="heflwr")}
    influx.query("DROP DATABASE heflwr")
    influx.query("CREATE DATABASE heflwr")
    numbers = {
        name: float(value)
        for name, value in point.items()
        if name != "time" and name not in tags and not isinstance(value, str)
    }
    assert batch.identifier == point.get("identifier", point.get("host"))
    assert sorted(batch.rows[0].values) == pytest.approx(sorted(numbers.values()))
    rest = sorted(f"{name}={point[name]}" for name in tags - {"identifier", "host"})
    assert batch.about.get("sources", {}) == ({measurement: ",".join(rest)} if rest else {})
    assert {metric for metric in batch.metrics if not re.search("_[0-9a-f]{8}$", metric)} <= {
        f"{measurement}_{name}" for name in numbers
    }


def test_what_influxdb_refuses_is_refused(influx: Influx) -> None:
    """Every line that InfluxDB takes for wrong is wrong here, but for one that the table names."""
    for line in REFUSED_ALIKE:
        assert _write(influx, line) == 400, line
    for line in REFUSED_ALIKE[:-1]:
        assert refusal(line.encode(), identifier="x").reason == "line", line
    assert parse(REFUSED_ALIKE[-1], identifier="x")[0].rows[0].values == (2.0**63,)


def _write(influx: Influx, line: str) -> int:
    request = urllib.request.Request(f"{influx.url}/write?db=heflwr", data=line.encode(), method="POST")
    try:
        with DIRECT.open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: not text.endswith("\\")
)
numbers = st.floats(-1e150, 1e150) | st.integers(-(2**63), 2**63 - 1)


def escaped(text: str) -> str:
    return re.sub(r"([,= ])", r"\\\1", text)


@given(
    tags=st.dictionaries(names.filter(lambda name: name not in ("identifier", "host")), names, max_size=4),
    fields=st.dictionaries(names, numbers, min_size=1, max_size=6),
    identifier=names,
    microseconds=st.integers(0, 7_258_118_399_999_999),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(
    tags: dict[str, str], fields: dict[str, float | int], identifier: str, microseconds: int
) -> None:
    """Any names and finite numbers, escaped as InfluxDB asks, come back; tags in another order are the same series."""
    shuffled = [("identifier", identifier), *tags.items()]
    told = ",".join(f"{escaped(name)}={value}{'i' * isinstance(value, int)}" for name, value in fields.items())
    lines = [
        f"m,{','.join(f'{escaped(name)}={escaped(value)}' for name, value in order)} {told} {microseconds * 1000}"
        for order in (shuffled, shuffled[::-1])
    ]
    one, other = (parse(line)[0] for line in lines)
    assert one == other
    assert one.identifier == identifier
    assert one.rows == (Row(microseconds, microseconds / 1e6, tuple(fields.values())),)
    assert len(set(one.metrics)) == len(fields)
    assert all(METRIC.fullmatch(metric) for metric in one.metrics)


@given(
    identifier=st.text(min_size=1, max_size=40),
    host=st.text(max_size=20),
    values=st.lists(st.floats(width=32), min_size=len(METRICS), max_size=len(METRICS)),
    time=st.floats(1, 7e9),
)
@settings(max_examples=60, deadline=None)
def test_our_own_sink_s_lines_are_read(
    mailbox: socket.socket, identifier: str, host: str, values: list[float], time: float
) -> None:
    """Whatever a client is called and measures, a datagram of its sink is its sample, to the microsecond."""
    sink = InfluxSink(f"udp://127.0.0.1:{mailbox.getsockname()[1]}")
    sink.open(Run(identifier, "run1", 1, time, 1.0, METRICS, host=host))
    try:
        sink.write(Sample(7, time, 0.0, tuple(values)))
    finally:
        sink.close()
    batches = parse_lines(mailbox.recv(65_536), received=NOW)
    known = {
        metric.name: int(value) if metric.whole else value
        for metric, value in zip(METRICS, values, strict=True)
        if (abs(value) < 2**63 if metric.whole else math.isfinite(value))
    }
    if not known:
        assert batches == ()
        return
    (batch,) = batches
    plain = re.sub(r"[\x00-\x1f\x7f]", " ", identifier.encode("utf-8", "backslashreplace").decode())
    assert batch.identifier.rstrip(" ") == plain.rstrip(" ")
    assert (batch.run, batch.rows[0].sequence) == ("run1", 7)
    assert batch.rows[0].time == pytest.approx(time, abs=1e-6)
    read = dict(zip(batch.metrics, batch.rows[0].values, strict=True))
    assert read == {name: pytest.approx(value, rel=1e-15) for name, value in known.items()}


pieces = st.sampled_from([*'m,h=ost ai1.\\"\n\r#t-eu\x00é', "host=h", " f=1", "\\,", '="', "1e9", "17" * 10])


@given(body=st.lists(pieces, max_size=60).map("".join).map(str.encode) | st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Whatever comes: batches that the store can take, or a refusal with a reason; never another error."""
    for batch in outcome(body):
        assert 1 <= len(batch.identifier) <= 256
        assert RUN.fullmatch(batch.run)
        assert all(METRIC.fullmatch(metric) for metric in batch.metrics)
        assert all(len(row.values) == len(batch.metrics) and all(map(math.isfinite, row.values)) for row in batch.rows)


@pytest.mark.timeout(30)  # a second is enough, for a look that goes back at every byte a day is not
@pytest.mark.parametrize(
    "piece", [b"\\", b",", b"=", b'"', b"\\,", b"a=", b"m a=1,", b'm a="\\"', b"#", b" ", b"\n", b"m,a=b", b"a=1,"]
)
def test_a_hostile_body_is_looked_at_once(piece: bytes) -> None:
    """A megabyte of backslashes, commas, quotes or escapes is read or refused without going back and forth."""
    assert outcome(b"m,host=h a=" + piece * (1_000_000 // len(piece))) == ()
