"""RemoteSink against servers that misbehave and disks that fill: sampling goes on, and what happened is counted."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from servers import FaultyServer, collector, free_port, get, reply
from waiting import wait_for

from heflwr.monitor import process_monitor, thread_monitor
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import _outbox, _sender, _spool
from heflwr.monitor.sinks.remote import RemoteSink

BOTH = pytest.mark.parametrize("monitors", [process_monitor, thread_monitor], ids=["process", "thread"])

COLUMNS = METRICS[:2]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached without a proxy, and in the sinks of this process little time passes between attempts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(_sender, "BATCH_SECONDS", 0.01)
    monkeypatch.setattr(_sender, "BACKOFF_SECONDS", (0.01, 0.05))


def run_of(name: str) -> Run:
    return Run(identifier=f"client {name}", run=name, pid=1, started=1.0, interval=1.0, metrics=COLUMNS)


def sample(sequence: int, value: float = 0.5) -> Sample:
    return Sample(sequence, 1_700_000_000.0 + sequence, float(sequence), (value, 2.0))


def rows_of(body: bytes, headers: dict[str, str]) -> list[list[Any]]:
    return json.loads(gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body)["rows"]


def accept(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    rows = rows_of(body, dict(handler.headers))
    reply(handler, 200, json.dumps({"accepted": len(rows), "duplicates": 0}).encode())


class Sending:
    """An open sink, for the length of a with statement."""

    def __init__(self, host: str, name: str = "r", **options: Any) -> None:
        self.sink = RemoteSink(host, **{"flush_seconds": 10.0, "timeout": 10.0, **options})
        self.sink.open(run_of(name))

    def __enter__(self) -> RemoteSink:
        return self.sink

    def __exit__(self, *error: object) -> None:
        self.sink.close()


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(10_000):
        handler.wfile.write(b"x" * 10_000)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.1)


def not_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff garbage \r\n\r\n" * 100)


FAULTS: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], str]] = {
    "500": (lambda handler: reply(handler, 500, b"<h1>oops</h1>"), "answered 500: <h1>oops</h1>"),
    "503": (lambda handler: reply(handler, 503, b'{"error": "full"}', Retry_After="0"), "answered 503: full"),
    "429": (lambda handler: reply(handler, 429, b"", Retry_After="0"), "answered 429"),
    "401": (lambda handler: reply(handler, 401, b'{"error": "who?"}'), "answered 401: who?"),
    "404": (lambda handler: reply(handler, 404, b"nothing here"), "answered 404: nothing here"),
    "another service": (lambda handler: reply(handler, 200, b"<html>log in</html>"), "not as a heflwr collector does"),
    "half a receipt": (lambda handler: reply(handler, 200, b'{"accepted": 0, "duplicates": 0}'), "not as a heflwr"),
    "a strange receipt": (lambda handler: reply(handler, 200, b'{"accepted": "1"}'), "not as a heflwr"),
    "garbage": (not_http, "cannot reach"),
    "nothing": (lambda handler: handler.connection.close(), "cannot reach"),
    "endless": (endless, "answered 200, but not as a heflwr collector does"),
    "dripping": (dripping, "endless answer"),
    "redirect": (lambda handler: reply(handler, 307, b"", Location="/elsewhere"), "redirects, which is not followed"),
    "slow": (lambda handler: time.sleep(1.0), "timed out"),
}  # fmt: skip


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "spool"])
@pytest.mark.parametrize("fault", FAULTS)
def test_after_any_fault_everything_arrives(tmp_path: Path, fault: str, spooled: bool) -> None:
    """A server that fails twice and recovers gets each sample; meanwhile health says what was wrong."""
    failing, text = FAULTS[fault]
    mended = False
    received: list[list[Any]] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        assert handler.path == "/simple_log"
        if not mended:
            failing(handler)
        else:
            received.extend(rows_of(body, dict(handler.headers)))
            accept(handler, body)

    with FaultyServer(answer) as server:
        options = {"timeout": 0.3 if fault in ("slow", "dripping") else 10.0, "spool": tmp_path if spooled else None}
        with Sending(server.address, **options) as sink:
            for sequence in range(5):
                sink.write(sample(sequence))
            wait_for(lambda: len(server.requests) >= 2 and sink.facts()["last_error"])
            told = sink.facts()
            assert (told["sent"], told["waiting"], told["dropped"], told["spooled"]) == (0, 5, 0, 5 * spooled)
            assert text in told["last_error"]
            mended = True
            sink.write(sample(5))
            wait_for(lambda: sink.facts()["sent"] == 6)
    assert [row[0] for row in received] == [0, 1, 2, 3, 4, 5]


@BOTH
def test_sampling_does_not_notice_a_broken_server(monitors: Any) -> None:
    """While a server answers nonsense the monitor samples on, with no error of its own."""
    with FaultyServer(lambda handler, body: reply(handler, 500)) as server:
        with monitors.RemoteMonitor(server.address, 0.02) as monitor:
            wait_for(lambda: server.requests and len(monitor.samples()) > 20)
        health = monitor.health
    assert (health.errors, health.failure) == ({}, "")
    assert health.sinks[0]["dropped"] == health.samples


def test_retry_after_is_respected() -> None:
    """A server that asks for two seconds is left alone for two seconds."""
    times: list[float] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            reply(handler, 429, b"", Retry_After="2")
        else:
            accept(handler, body)

    with FaultyServer(answer) as server, Sending(server.address) as sink:
        sink.write(sample(0))
        wait_for(lambda: sink.facts()["sent"] == 1)
    assert times[1] - times[0] >= 1.9


@pytest.mark.parametrize(("asked", "pause"), [("1", 1.0), ("300", 1.5)])
def test_a_receipt_may_ask_to_gather_for_longer(monkeypatch: pytest.MonkeyPatch, asked: str, pause: float) -> None:
    """What comes meanwhile is sent together, later; no server can ask for more than a minute, here 1.5 s."""
    monkeypatch.setattr(_sender, "PACE_SECONDS", 1.5)
    times: list[float] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        times.append(time.monotonic())
        rows = rows_of(body, dict(handler.headers))
        reply(handler, 200, json.dumps({"accepted": len(rows), "duplicates": 0}).encode(), Retry_After=asked)

    with FaultyServer(answer) as server, Sending(server.address) as sink:
        sink.write(sample(0))
        wait_for(lambda: sink.facts()["sent"] == 1)
        sink.write(sample(1))
        sink.write(sample(2))
        wait_for(lambda: sink.facts()["sent"] == 3)
        assert len(times) == 2
        assert pause - 0.05 <= times[1] - times[0] < pause + 5
        sink.write(sample(3))
    assert len(times) == 3  # close() does not wait for it


def test_an_answer_that_drips_takes_its_timeout_and_no_longer() -> None:
    times: list[float] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        times.append(time.monotonic())
        dripping(handler)

    with FaultyServer(answer) as server, Sending(server.address, timeout=0.3) as sink:
        sink.write(sample(0))
        wait_for(lambda: len(times) == 2)
    assert times[1] - times[0] < 4  # sixty-four bytes take six seconds


def test_a_refused_row_is_looked_for_without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the server asked to gather samples."""
    monkeypatch.setattr(_sender, "PACE_SECONDS", 3.0)

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        rows = rows_of(body, dict(handler.headers))
        if any(row[0] == 30 for row in rows):
            reply(handler, 400, b'{"error": "not that one"}')
        else:
            reply(handler, 200, json.dumps({"accepted": len(rows), "duplicates": 0}).encode(), Retry_After="3")

    with FaultyServer(answer) as server, Sending(server.address) as sink:
        for sequence in range(64):
            sink.write(sample(sequence))
        began = time.monotonic()
        wait_for(lambda: sink.facts()["dropped"] == 1)
        assert time.monotonic() - began < 8  # one pause before it is met, none while it is looked for


def test_attempts_get_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure doubles the pause: a server that is down is not stormed."""
    monkeypatch.setattr(_sender, "BACKOFF_SECONDS", (0.02, 30.0))
    times: list[float] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        times.append(time.monotonic())
        reply(handler, 500)

    with FaultyServer(answer) as server, Sending(server.address, flush_seconds=0.0) as sink:
        sink.write(sample(0))
        wait_for(lambda: len(times) == 7)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[5] >= 0.32  # 0.02 * 2**5, half of it random
    assert pauses[5] > pauses[1]


@pytest.mark.parametrize("status", [400, 413])
def test_one_refused_row_does_not_take_the_others_with_it(status: int) -> None:
    """A batch that holds a row which the collector refuses is halved until only that row is given up."""
    received: list[int] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        rows = [row[0] for row in rows_of(body, dict(handler.headers))]
        if 13 in rows:
            reply(handler, status, b'{"error": "unlucky"}')
        else:
            received.extend(rows)
            accept(handler, body)

    with FaultyServer(answer) as server, Sending(server.address) as sink:
        for sequence in range(100):
            sink.write(sample(sequence))
        wait_for(lambda: sink.facts()["waiting"] == 0)
        told = sink.facts()
    assert received == [sequence for sequence in range(100) if sequence != 13]
    assert (told["sent"], told["dropped"]) == (99, 1)
    assert told["last_error"].endswith(f"answered {status}: unlucky")


def test_a_server_that_takes_few_rows_gets_few() -> None:
    """413 makes batches smaller, and nothing is lost."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if len(rows_of(body, dict(handler.headers))) > 10:
            reply(handler, 413)
        else:
            accept(handler, body)

    with FaultyServer(answer) as server, Sending(server.address) as sink:
        for sequence in range(300):
            sink.write(sample(sequence))
        wait_for(lambda: sink.facts()["sent"] == 300)
        assert sink.facts()["dropped"] == 0


def test_a_server_that_refuses_all_does_not_hold_up_the_rest() -> None:
    """Where every row is refused, whole batches are given up, and counted."""
    with FaultyServer(lambda handler, body: reply(handler, 400)) as server, Sending(server.address) as sink:
        for sequence in range(2000):
            sink.write(sample(sequence))
        wait_for(lambda: sink.facts()["dropped"] == 2000)
        assert len(server.requests) < 100


def test_a_full_outbox_keeps_the_newest_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: the oldest samples go."""
    monkeypatch.setattr(_outbox, "OUTBOX_ROWS", 50)
    received: list[int] = []
    mended = False

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if mended:
            received.extend(row[0] for row in rows_of(body, dict(handler.headers)))
            accept(handler, body)
        else:
            reply(handler, 500)

    with FaultyServer(answer) as server, Sending(server.address) as sink:
        for sequence in range(200):
            sink.write(sample(sequence))
        wait_for(lambda: server.requests)
        told = sink.facts()
        assert (told["waiting"], told["dropped"]) == (50, 150)
        mended = True
        wait_for(lambda: sink.facts()["sent"] == 50)
    assert received == list(range(150, 200))


def test_a_full_spool_keeps_the_newest_and_counts_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is bounded too: the oldest segment goes as a whole."""
    monkeypatch.setattr(_spool, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(_spool, "SPOOL_SEGMENTS", 3)
    port = free_port()
    with Sending(f"127.0.0.1:{port}", "first", spool=tmp_path, flush_seconds=0.1) as sink:
        for sequence in range(500):
            sink.write(sample(sequence))
        told = sink.facts()
    files = list(tmp_path.glob("*/first/*.jsonl"))
    assert len(files) <= 3
    assert sum(file.stat().st_size for file in files) <= 3000
    assert told["waiting"] == told["spooled"] == 500 - told["dropped"] > 0
    with collector(tmp_path / "heflwr.db", port=port) as collected:
        with Sending(f"127.0.0.1:{port}", "second", spool=tmp_path) as sink:
            wait_for(lambda: sink.facts()["sent"] == told["waiting"])
        assert [found["sequence"] for found in collected.samples()] == list(range(told["dropped"], 500))


def test_former_runs_together_fill_no_more_than_one_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that crashes again and again does not fill the disk: the oldest of what it left goes."""
    monkeypatch.setattr(_spool, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(_spool, "SPOOL_SEGMENTS", 3)
    address = f"127.0.0.1:{free_port()}"
    for number in range(4):
        with Sending(address, f"run{number}", spool=tmp_path, flush_seconds=0.1) as sink:
            for sequence in range(100):
                sink.write(sample(sequence))
            wait_for(lambda sink=sink: sink.facts()["last_error"])
        assert len(list(tmp_path.glob("*/*/*.jsonl"))) <= 6
        assert (tmp_path / _spool.home_of(tmp_path, f"http://{address}") / f"run{number}").is_dir()


def test_two_processes_share_a_spool_directory(tmp_path: Path) -> None:
    """Four processes begin, send and take over leftovers in one directory at once; each sample arrives once."""
    with collector(tmp_path / "heflwr.db") as collected:
        script = textwrap.dedent(f"""
            import sys
            from heflwr.monitor.metrics import METRICS
            from heflwr.monitor.sample import Run, Sample
            from heflwr.monitor.sinks.remote import RemoteSink
            for attempt in range(3):
                name = f"{{sys.argv[1]}}-{{attempt}}"
                sink = RemoteSink({collected.address!r}, spool={os.fspath(tmp_path / "spool")!r}, flush_seconds=0.05)
                sink.open(Run(name, name, 1, 1.0, 1.0, METRICS[:2]))
                for sequence in range(500):
                    sink.write(Sample(sequence, 1.7e9 + sequence, 0.0, (1.0, 2.0)))
                sink.close()
                assert sink.facts()["dropped"] == 0, sink.facts()
        """)
        clients = [subprocess.Popen([sys.executable, "-c", script, str(number)]) for number in range(4)]
        assert [client.wait(60) for client in clients] == [0] * 4
        with Sending(collected.address, "last", spool=tmp_path / "spool") as sink:
            wait_for(lambda: len(collected.samples()) == 4 * 3 * 500)
        assert sink.facts()["dropped"] == 0
        assert len(get(f"{collected.url}/api/v1/clients")[1]["clients"]) == 12
    assert list((tmp_path / "spool").glob("*/*")) == []


def test_the_spool_of_a_living_run_is_left_alone(tmp_path: Path) -> None:
    """A second sink of the same process does not take the first one's samples for a leftover."""
    port = free_port()
    with Sending(f"127.0.0.1:{port}", "first", spool=tmp_path, flush_seconds=0.0) as first:
        first.write(sample(0))
        with Sending(f"127.0.0.1:{port}", "second", spool=tmp_path, flush_seconds=0.0) as second:
            second.write(sample(0))
            wait_for(lambda: second.facts()["last_error"])
            assert second.facts()["waiting"] == 1


OTHER_PROCESS = """
import os, sys
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.remote import RemoteSink
sink = RemoteSink(sys.argv[1], spool=sys.argv[2], flush_seconds=0)
sink.open(Run("other", "other", 1, 1.0, 1.0, METRICS[:2]))
sink.write(Sample(0, 1.7e9, 0.0, (1.0, 2.0)))
child = os.fork() if sys.argv[3] == "fork" else -1
if child != 0:
    print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize("how", ["plain", "fork"])
def test_the_spool_of_another_process_is_taken_over_when_it_ends(tmp_path: Path, how: str) -> None:
    """A living process's spool is its own; a killed one's is a leftover, even if a child that it forked lives."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-c", OTHER_PROCESS, address, os.fspath(tmp_path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        for name, waiting in (("alive", 1), ("killed", 3)):
            if name == "killed":
                other.kill()
                other.wait()
            with Sending(address, name, spool=tmp_path, flush_seconds=0.0) as sink:
                sink.write(sample(0))
                wait_for(lambda sink=sink: sink.facts()["last_error"])
                assert sink.facts()["waiting"] == waiting  # its own, and then those of "alive" and of the other too


def test_what_was_acknowledged_is_not_sent_again(tmp_path: Path) -> None:
    """The next run goes on behind the last row that the collector took."""
    received: list[int] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        rows = [row[0] for row in rows_of(body, dict(handler.headers))]
        if len(rows) > 10:
            reply(handler, 413)
        elif len(received) >= 20 and -1 not in received:
            received.append(-1)  # from here on down, until the next run
            reply(handler, 500)
        elif -1 in received and not mended:
            reply(handler, 500)
        else:
            received.extend(rows)
            accept(handler, body)

    mended = False
    with FaultyServer(answer) as server:
        with Sending(server.address, "first", spool=tmp_path, flush_seconds=0.2) as sink:
            for sequence in range(40):
                sink.write(sample(sequence))
            wait_for(lambda: -1 in received)
        taken = sink.facts()["sent"]
        assert taken == received.index(-1) > 0
        mended = True
        with Sending(server.address, "second", spool=tmp_path) as sink:
            wait_for(lambda: sink.facts()["sent"] == 40 - taken)
    assert [sequence for sequence in received if sequence >= 0] == list(range(40))


def test_rows_that_made_room_are_not_forgotten_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the oldest rows go while they are being sent, their acknowledgement takes no newer ones along."""
    monkeypatch.setattr(_outbox, "OUTBOX_ROWS", 10)
    monkeypatch.setattr(_spool, "SEGMENT_BYTES", 50)
    monkeypatch.setattr(_spool, "SPOOL_SEGMENTS", 2)
    memory = _outbox.MemoryOutbox("/log", "{}")
    spool = _spool.Spool.begin(tmp_path, "run", "/log", "{}")
    for outbox in (memory, spool):
        for sequence in range(10):
            outbox.append(f"[{sequence}]")
        batch = outbox.peek(5)
        assert batch is not None
        for sequence in range(10, 30):
            outbox.append(f"[{sequence}]")
        before = outbox.waiting
        outbox.forget(batch)
        assert outbox.waiting == before
        assert outbox.waiting + outbox.dropped == 30
        outbox.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(path.read_bytes() + b"\x00\x00\xff\n[9, 9"),
        lambda path: (path.parent / "position").write_text("nonsense"),
        lambda path: (path.parent / "00000000.jsonl").write_bytes(b""),
        lambda path: (path.parent / "00000000.jsonl").write_bytes(b"\xff\xff\n\x00\n"),
        lambda path: (path.parent / "notes.jsonl").write_text("mine"),
    ],
    ids=["torn", "garbage behind", "position", "empty segment", "garbage segment", "foreign file"],
)
def test_a_damaged_spool_gives_what_is_whole(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    """After a power cut the rows that are whole arrive, the rest is given up, and nothing is stuck."""
    port = free_port()
    with Sending(f"127.0.0.1:{port}", "first", spool=tmp_path, flush_seconds=0.0) as sink:
        for sequence in range(20):
            sink.write(sample(sequence))
    (segment,) = tmp_path.glob("*/first/*.jsonl")
    damage(segment)
    with collector(tmp_path / "heflwr.db", port=port) as collected:
        with Sending(f"127.0.0.1:{port}", "second", spool=tmp_path) as sink:
            sink.write(sample(0))
            wait_for(lambda: sink.facts()["waiting"] == 0)
        found = [found["sequence"] for found in collected.samples(run="first")]
        assert found in (list(range(20)), list(range(19)))
        assert len(collected.samples(run="second")) == 1


def test_a_spool_that_vanishes_is_replaced_by_memory(tmp_path: Path) -> None:
    """Where the directory is deleted under a run, its later samples still arrive."""
    import shutil

    with collector(tmp_path / "heflwr.db") as collected, Sending(collected.address, spool=tmp_path / "spool") as sink:
        sink.write(sample(0))
        wait_for(lambda: sink.facts()["sent"] == 1)
        shutil.rmtree(tmp_path / "spool")
        sink.write(sample(1))
        assert "cannot spool" in sink.facts()["last_error"]
        wait_for(lambda: sink.facts()["sent"] == 2)
        assert sink.facts()["waiting"] == 0


@pytest.fixture
def _small_files() -> Iterator[None]:
    """No file of this process grows beyond 4 KiB, as on a full disk."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("_small_files")
def test_a_full_disk_is_replaced_by_memory(tmp_path: Path) -> None:
    """Rows that do not fit on the disk wait in memory, until it has room again; each arrives once, and in whole."""
    import resource

    received: list[int] = []
    mended = False

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if mended:
            received.extend(row[0] for row in rows_of(body, dict(handler.headers)))
            accept(handler, body)
        else:
            reply(handler, 500)

    with FaultyServer(answer) as server, Sending(server.address, spool=tmp_path / "spool") as sink:
        for sequence in range(300):
            sink.write(sample(sequence))
        told = sink.facts()
        assert told["waiting"] == 300
        assert 0 < told["spooled"] < 300
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for sequence in range(300, 320):
            sink.write(sample(sequence))
        assert sink.facts()["spooled"] == told["spooled"] + 20
        mended = True
        wait_for(lambda: sink.facts()["sent"] == 320)
    assert sorted(received) == list(range(320))


def test_a_missing_value_is_null_and_a_count_is_an_integer() -> None:
    """NaN and infinity are not JSON; memory_bytes is a whole number."""
    columns = tuple(metric for metric in METRICS if metric.name in ("cpu_usage", "memory_bytes"))
    with FaultyServer(accept) as server:
        sink = RemoteSink(server.address)
        sink.open(Run("a", "r", 1, 1.0, 1.0, columns))
        sink.write(Sample(0, 1.5, 0.0, (float("nan"), 3.0)))
        sink.write(Sample(1, 2.5, 1.0, (float("inf"), float("nan"))))
        wait_for(lambda: sink.facts()["sent"] == 2)
        sink.close()
        bodies = b"".join(body for _, _, body in server.requests)
    assert b"[0, 1.5, null, 3]" in bodies
    assert b"[1, 2.5, null, null]" in bodies


@pytest.mark.parametrize("identifier", ["half \ud800 a pair", 'quote" \\ \n %s', "%", "ключ"])
def test_any_identifier_arrives(tmp_path: Path, identifier: str) -> None:
    """Characters that JSON, SQL or formatting could trip over; half a surrogate is written out."""
    with collector(tmp_path / "heflwr.db") as collected:
        sink = RemoteSink(collected.address)
        sink.open(Run(identifier, "r", 1, 1.0, 1.0, COLUMNS))
        sink.write(sample(0))
        wait_for(lambda: sink.facts()["sent"] == 1)
        sink.close()
        assert [found["identifier"] for found in collected.samples()] == [identifier.replace("\ud800", "\\ud800")]


def test_a_duplicate_counts_as_sent(tmp_path: Path) -> None:
    """An acknowledgement that got lost makes the sink send again, and the collector store once."""
    port = free_port()
    with collector(tmp_path / "heflwr.db", port=port) as collected:
        for _ in range(2):
            with Sending(collected.address, "same") as sink:
                for sequence in range(10):
                    sink.write(sample(sequence))
                wait_for(lambda sink=sink: sink.facts()["sent"] == 10)
        assert len(collected.samples()) == 10


WITHOUT_DESCRIPTORS = """
import os, sys
from contextlib import contextmanager
from pathlib import Path
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import _sender
from heflwr.monitor.sinks._spool import Leftovers, home_of
from heflwr.monitor.sinks.remote import RemoteSink
from waiting import wait_for
import resource

_sender.BATCH_SECONDS, _sender.BACKOFF_SECONDS = 0.01, (0.01, 0.05)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

@contextmanager
def none_free(but=0):
    hoard = []
    def take():
        try:
            while True:
                hoard.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
    take()
    for _ in range(but):
        os.close(hoard.pop())
    yield take  # again, since another thread may have had one in use and given it back
    for descriptor in hoard:
        os.close(descriptor)

def say(value):
    print(value, flush=True)
    sys.stdin.readline()

host, spool = sys.argv[1:]
"""


@contextlib.contextmanager
def without_descriptors(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script that may take all its descriptors away; it waits for a line after each that it prints."""
    script = WITHOUT_DESCRIPTORS + textwrap.dedent(code)
    tests = os.fspath(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_process_without_free_descriptors_keeps_what_it_spooled(tmp_path: Path) -> None:
    """While the spool cannot be read nothing of it is deleted; health says why, and later each sample arrives."""
    received: list[int] = []
    mended = False

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if mended:
            received.extend(row[0] for row in rows_of(body, dict(handler.headers)))
            accept(handler, body)
        else:
            reply(handler, 500)

    code = """
        sink = RemoteSink(host, spool=spool, flush_seconds=10)
        sink.open(Run("a", "r", os.getpid(), 1.0, 1.0, METRICS[:2]))
        for sequence in range(20):
            sink.write(Sample(sequence, 1.7e9 + sequence, 0.0, (1.0, 2.0)))
        wait_for(lambda: "500" in sink.facts()["last_error"])
        with none_free() as take:
            wait_for(lambda: take() or "cannot read the spool" in sink.facts()["last_error"] or sink.facts()["dropped"])
            sink.write(Sample(20, 1.7e9 + 20, 0.0, (1.0, 2.0)))
            facts = sink.facts()
        say([facts["waiting"], facts["spooled"], facts["dropped"]])
        sink.close()
        say([sink.facts()["sent"], sink.facts()["dropped"]])
    """
    with FaultyServer(answer) as server, without_descriptors(code, server.address, os.fspath(tmp_path)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "[21, 21, 0]\n"
        mended = True
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "[21, 0]\n"
    assert received == list(range(21))


def test_leftovers_that_cannot_be_read_now_are_left_for_later(tmp_path: Path) -> None:
    """Without a free descriptor no former run is taken for an empty one; with one, all of each is found."""
    host = f"127.0.0.1:{free_port()}"
    for name in ("first", "second"):
        with Sending(host, name, spool=tmp_path, flush_seconds=0.0) as sink:
            for sequence in range(20):
                sink.write(sample(sequence))
    code = """
        home = home_of(Path(spool), f"http://{host}")
        leftovers = Leftovers(home)
        found, failures = [], 0
        for free in (0, 0, 1, 1, 1):  # none, and enough for the lock alone
            with none_free(but=free):
                try:
                    found.append(leftovers.claim_next())
                except OSError:
                    failures += 1
        found += [leftovers.claim_next(), leftovers.claim_next()]
        say([failures, *(spool.waiting for spool in found)])
        for spool in found:
            spool.close()
        say(leftovers.claim_next())
    """
    with without_descriptors(code, host, os.fspath(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "[5, 20, 20]\n"
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "None\n"
    assert len(list(tmp_path.glob("*/*/00000001.jsonl"))) == 2


def test_hundreds_of_former_runs_do_not_take_hundreds_of_descriptors(tmp_path: Path) -> None:
    """A client that crashed often comes back with a few descriptors at a time, and all its samples arrive."""
    port, runs = free_port(), 120
    home = _spool.home_of(tmp_path / "spool", f"http://127.0.0.1:{port}")
    head = json.dumps({"identifier": "crashed", "run": "", "metrics": [metric.name for metric in COLUMNS]})
    for number in range(runs):
        outbox = _spool.Spool.begin(home, f"run{number}", "/simple_log", head.replace('""', f'"run{number}"'))
        outbox.append("[0, 1.5, 0.5, 2.0]")
        outbox.close()
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    with Sending(f"127.0.0.1:{port}", "next", spool=tmp_path / "spool") as sink:
        sink.write(sample(0))
        wait_for(lambda: sink.facts()["last_error"])
        assert len(list(descriptors.iterdir())) - before < 40
        with collector(tmp_path / "heflwr.db", port=port) as collected:
            wait_for(lambda: sink.facts()["sent"] == runs + 1)
            assert len(collected.samples()) == runs + 1
            wait_for(lambda: [path.name for path in (tmp_path / "spool").glob("*/*")] == ["next"])
    assert sink.facts()["dropped"] == 0


def test_a_collector_that_is_away_for_an_hour_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of samples, one a second, is more than this memory holds and several segments: the spool keeps all."""
    monkeypatch.setattr(_outbox, "OUTBOX_ROWS", 100)
    monkeypatch.setattr(_spool, "SEGMENT_BYTES", 20_000)
    port, rows = free_port(), 3_700
    with Sending(f"127.0.0.1:{port}", "hour", spool=tmp_path / "spool") as sink:
        for sequence in range(rows):
            sink.write(sample(sequence, float(sequence)))
        wait_for(lambda: sink.facts()["last_error"])
        assert len(list(tmp_path.glob("spool/*/hour/*.jsonl"))) > 3
        told = sink.facts()
        assert (told["sent"], told["waiting"], told["spooled"], told["dropped"]) == (0, rows, rows, 0)
        with collector(tmp_path / "heflwr.db", port=port) as collected:
            wait_for(lambda: sink.facts()["sent"] == rows)
            found = collected.samples()
    name = COLUMNS[0].name
    assert [(row["sequence"], row["values"][name]) for row in found] == [(n, float(n)) for n in range(rows)]
