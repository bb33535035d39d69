"""What every sink promises, asked of each in turn: no handle before open() nor after close(), facts that are JSON."""

from __future__ import annotations

import gzip
import json
import math
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from servers import FaultyServer, reply
from waiting import wait_for

from heflwr.monitor import SinkUnavailable
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import Sink
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.influx import InfluxSink
from heflwr.monitor.sinks.otlp import OtlpSink
from heflwr.monitor.sinks.prometheus import PrometheusSink
from heflwr.monitor.sinks.remote import RemoteSink

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc/self/fd")

Make = Callable[[Path, str], Sink]

SINKS: dict[str, Make] = {
    "text": lambda directory, address: FileSink(directory / "run.txt"),
    "jsonl": lambda directory, address: FileSink(directory / "run.jsonl", format="jsonl"),
    "csv": lambda directory, address: FileSink(directory / "run.csv", format="csv"),
    "prometheus": lambda directory, address: PrometheusSink(0, host="127.0.0.1"),
    "influx": lambda directory, address: InfluxSink(address),
    "influx over udp": lambda directory, address: InfluxSink(f"udp://{address}"),
    "otlp": lambda directory, address: OtlpSink(f"http://{address}"),
    "prometheus that registers": lambda directory, address: PrometheusSink(0, host="127.0.0.1", register=address),
    "remote": lambda directory, address: RemoteSink(address),
    "remote with a spool": lambda directory, address: RemoteSink(address, spool=directory / "spool"),
}

FAILING: dict[str, Make] = {
    "no directory": lambda directory, address: FileSink(directory / "missing" / "run.txt"),
    "full disk": lambda directory, address: FileSink("/dev/full"),
    "port taken": lambda directory, address: PrometheusSink(int(address.rpartition(":")[2]), host="127.0.0.1"),
    "spool is a file": lambda directory, address: RemoteSink(address, spool=__file__),
    "no authority": lambda directory, address: RemoteSink(address, verify=directory / "missing.pem"),
}
"""Sinks that can be made, and not opened."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield "host:port" of a server that takes every batch, as a collector does."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FaultyServer(_take) as server:
        yield server.address


def _take(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    if handler.path.startswith("/write"):
        reply(handler, 204)
    elif handler.path in ("/api/v1/targets", "/v1/metrics"):
        reply(handler, 200)
    else:
        rows = json.loads(gzip.decompress(body) if handler.headers["Content-Encoding"] else body)["rows"]
        reply(handler, 200, json.dumps({"accepted": len(rows), "duplicates": 0}).encode())


def handles() -> tuple[int, int]:
    """Return how many descriptors are open and how many threads alive in this process."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def run_of(name: str) -> Run:
    """Return a run of this process, with every metric."""
    return Run(f"client {name}", name, os.getpid(), 1.7e9, 1.0, METRICS, limits={"cpu_cores": math.inf})


def use(sink: Sink, name: str) -> None:
    """Open, write a whole sample and one of which nothing is known, ask, close."""
    sink.open(run_of(name))
    try:
        sink.write(Sample(0, 1.7e9, 0.0, (1.0,) * len(METRICS)))
        sink.write(Sample(1, 1.7e9 + 1, 1.0, (math.nan,) * len(METRICS)))
        facts = json.loads(json.dumps(sink.facts(), allow_nan=False))
    finally:
        sink.close()
    assert isinstance(facts["sink"], str)
    assert facts["sink"]


@pytest.mark.parametrize("name", SINKS)
def test_a_sink_takes_handles_in_open_and_gives_them_back_in_close(name: str, tmp_path: Path, address: str) -> None:
    """The constructor takes none, a run leaves none behind, and a second run works like the first."""
    threads = threading.active_count()
    use(SINKS[name](tmp_path, address), "warm")  # what is imported on first use stays
    wait_for(lambda: threading.active_count() <= threads, what="the end of the server's threads")
    before = handles()
    sink = SINKS[name](tmp_path, address)
    wait_for(lambda: handles() == before, what=f"{before} descriptors and threads")  # the server's come and go
    for number in range(2):
        use(sink, f"run{number}")
        wait_for(lambda: handles() == before, what=f"{before} descriptors and threads")


@pytest.mark.parametrize("name", SINKS)
def test_a_sink_can_go_to_the_sampling_child(name: str, tmp_path: Path, address: str) -> None:
    """Before open() it is pickled whole: the copy works, and flushes as long as the original says."""
    sink = SINKS[name](tmp_path, address)
    copy = pickle.loads(pickle.dumps(sink))
    use(copy, "copy")
    assert isinstance(sink.flush_seconds, float)
    assert math.isfinite(sink.flush_seconds)
    assert copy.flush_seconds == sink.flush_seconds >= 0


@pytest.mark.parametrize("name", FAILING)
def test_a_sink_that_cannot_be_opened_says_so_and_holds_nothing(name: str, tmp_path: Path, address: str) -> None:
    """SinkUnavailable, with a way out behind the semicolon, and not a descriptor more than before, however often."""
    sink = FAILING[name](tmp_path, address)
    with pytest.raises(SinkUnavailable, match="; "):
        sink.open(run_of("first"))
    before = handles()
    for number in range(3):
        with pytest.raises(SinkUnavailable):
            sink.open(run_of(f"again{number}"))
    assert handles() == before


def test_a_sink_that_finds_no_thread_left_holds_nothing(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system refuses a thread, open() says so and gives back port, lock and descriptors."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    sinks = [
        RemoteSink(address, spool=tmp_path / "spool"),
        InfluxSink(address),
        PrometheusSink(port, host="127.0.0.1", register=address),
    ]
    threads = threading.active_count()
    for number, sink in enumerate(sinks):
        use(sink, f"warm{number}")
    wait_for(lambda: threading.active_count() <= threads)
    before = handles()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for sink in sinks:
            with pytest.raises(SinkUnavailable, match="can't start new thread; "):
                sink.open(run_of("refused"))
    assert handles() == before
    for sink in sinks:
        use(sink, "refused")
