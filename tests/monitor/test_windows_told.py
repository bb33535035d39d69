"""Windows on their way to a collector: each is told when it opens and again when it closes, with its samples."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import FaultyServer, free_port, reply
from waiting import wait_for

from heflwr.monitor import Monitor
from heflwr.monitor.sinks import _sender
from heflwr.monitor.sinks.remote import RemoteSink


class Taking:
    """A server that takes every batch as a collector does, and the windows that came."""

    def __init__(self, server: FaultyServer) -> None:
        self._server = server
        self.address = server.address

    def _bodies(self) -> list[dict[str, Any]]:
        return [
            json.loads(gzip.decompress(body) if headers.get("Content-Encoding") else body)
            for _, headers, body in self._server.requests
        ]

    def windows(self) -> list[tuple[str, float, float | None]]:
        found = [window for body in self._bodies() for window in body.get("windows", [])]
        return [(window["name"], window["start"], window["end"]) for window in found]

    def samples(self) -> list[int]:
        return [row[0] for body in self._bodies() for row in body["rows"]]


def _take(handler: Any, body: bytes) -> None:
    rows = json.loads(gzip.decompress(body) if handler.headers["Content-Encoding"] else body)["rows"]
    reply(handler, 200, json.dumps({"accepted": len(rows), "duplicates": 0}).encode())


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Taking]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(_sender, "BATCH_SECONDS", 0.05)
    with FaultyServer(_take) as server:
        yield Taking(server)


@pytest.mark.parametrize("runner", ["process", "thread"])
def test_a_window_is_told_when_it_opens_and_when_it_closes(taking: Taking, runner: str) -> None:
    """Name and times of every window arrive beside the samples, nested ones too; health counts samples only."""
    before = time.time()
    monitor = Monitor([RemoteSink(taking.address)], interval=0.05, runner=runner)
    with monitor:
        with monitor.window("round 1 中"), monitor.window("x" * 300):
            wait_for(lambda: len(monitor.samples()) > 3)
        with monitor.window("hidden", is_told=False):
            pass
    told = taking.windows()
    assert [name for name, _, _ in told] == ["round 1 中", "x" * 256, "x" * 256, "round 1 中"]
    starts = {name: start for name, start, end in told if end is None}
    ends = {name: end for name, start, end in told if end is not None and start == starts[name]}
    assert starts.keys() == ends.keys()
    for name, start in starts.items():
        assert before <= start < ends[name] <= time.time()
    assert sorted(taking.samples()) == list(range(len(monitor.samples())))
    assert monitor.health.sinks[0]["sent"] == len(monitor.samples())
    assert monitor.health.errors == {}


@pytest.mark.parametrize("runner", ["process", "thread"])
def test_a_spooled_window_is_told_by_the_next_run(taking: Taking, tmp_path: Path, runner: str) -> None:
    """What a run could not tell because nobody was there waits on disk like its samples."""
    port = free_port()
    away = Monitor(
        [RemoteSink(f"127.0.0.1:{port}", spool=tmp_path, flush_seconds=0)],
        interval=60,
        runner=runner,
        identifier="away",
    )
    with away, away.window("lost?"):
        pass
    (home,) = tmp_path.iterdir()
    home.rename(home.with_name(home.name.replace(str(port), taking.address.rpartition(":")[2])))
    with Monitor([RemoteSink(taking.address, spool=tmp_path)], interval=60, runner="thread"):
        wait_for(lambda: len(taking.windows()) == 2)
    assert {name for name, _, _ in taking.windows()} == {"lost?"}


def test_a_sink_that_fails_to_take_a_window_costs_nothing_else() -> None:
    """What its window() raises is counted, and sampling goes on."""

    class Failing:
        flush_seconds = 0.0

        def open(self, run: Any) -> None: ...
        def write(self, sample: Any) -> None: ...
        def close(self) -> None: ...
        def facts(self) -> dict[str, Any]:
            return {"sink": "failing"}

        def window(self, name: str, start: float, end: float | None) -> None:
            raise OSError(f"no room for {name}")

    monitor = Monitor([Failing()], interval=0.02, runner="thread")
    with monitor:
        with monitor.window("epoch"):
            pass
        wait_for(lambda: len(monitor.samples()) > 5)
    assert monitor.health.errors == {"Failing": 2}
    assert "no room for epoch" in monitor.health.last_error


@pytest.mark.parametrize("runner", ["process", "thread"])
def test_a_window_outside_a_run_is_told_to_nobody(taking: Taking, runner: str) -> None:
    """Before start() and after stop() there is nobody to tell, and nothing goes wrong."""
    monitor = Monitor([RemoteSink(taking.address)], interval=60, runner=runner)
    with monitor.window("before"):
        pass
    with monitor:
        pass
    with monitor.window("after"):
        pass
    assert taking.windows() == []
