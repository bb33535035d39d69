"""Windows that the remote sink is told go to the collector beside its samples, again until they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from servers import Collected, collector, free_port, get
from waiting import wait_for

from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import _sender
from heflwr.monitor.sinks.remote import RemoteSink

START = 1_763_726_400.25


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached without a proxy; requests come one after the other, to save time."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(_sender, "BATCH_SECONDS", 0.02)
    monkeypatch.setattr(_sender, "BACKOFF_SECONDS", (0.01, 0.05))


def windows(collected: Collected) -> list[tuple[str, str, float, float | None]]:
    status, answer = get(f"{collected.url}/api/v1/windows")
    assert status == 200, answer
    found = [(window["run"], window["name"], window["start"], window["end"]) for window in answer["windows"]]
    return sorted(found, key=repr)


def opened(sink: RemoteSink, run: str) -> RemoteSink:
    sink.open(Run("client", run, 1, START, 1.0, METRICS))
    return sink


def sample(sequence: int) -> Sample:
    return Sample(sequence, START + sequence, float(sequence), (1.0,) * len(METRICS))


@pytest.mark.parametrize("simple", [True, False])
def test_a_window_has_no_end_until_it_closes(tmp_path: Path, simple: bool) -> None:
    """The collector knows of an open one, and then its end; with samples around it or without any."""
    with collector(tmp_path / "heflwr.db") as collected:
        sink = opened(RemoteSink(collected.address, simple=simple), "run1")
        sink.window("round 1 中\ud800", START, None)
        name = "round 1 中\\ud800"
        wait_for(lambda: windows(collected) == [("run1", name, START, None)], what="the open window")
        sink.write(sample(0))
        sink.window("inner", START + 0.5, START + 0.75)
        sink.window("round 1 中\ud800", START, START + 1.5)
        sink.write(sample(1))
        sink.close()
        facts = sink.facts()
        assert windows(collected) == [
            ("run1", "inner", START + 0.5, START + 0.75),
            ("run1", name, START, START + 1.5),
        ]
        assert len(collected.samples()) == 2
    assert (facts["sent"], facts["waiting"], facts["dropped"], facts["last_error"]) == (2, 0, 0, "")


def test_a_spooled_window_is_told_by_a_later_run(tmp_path: Path) -> None:
    """What could not be told waits on disk like a sample, and arrives once, under its own run."""
    port, spool = free_port(), tmp_path / "spool"
    away = opened(RemoteSink(f"127.0.0.1:{port}", spool=spool, flush_seconds=0), "away")
    away.window("round 1", START, None)
    away.write(sample(0))
    away.window("round 1", START, START + 1)
    away.close()
    assert away.facts()["spooled"] == 3
    with collector(tmp_path / "heflwr.db", port=port) as collected:
        late = opened(RemoteSink(f"127.0.0.1:{port}", spool=spool), "late")
        wait_for(lambda: windows(collected) == [("away", "round 1", START, START + 1)], what="the spooled window")
        late.close()
        assert [found["run"] for found in collected.samples()] == ["away"]


def test_a_window_that_is_refused_costs_no_sample(tmp_path: Path) -> None:
    """One that cannot be meant is given up alone; the samples around it arrive."""
    with collector(tmp_path / "heflwr.db") as collected:
        sink = opened(RemoteSink(collected.address), "run1")
        for sequence in range(5):
            sink.write(sample(sequence))
        sink.window("inside out", START + 1, START)
        for sequence in range(5, 10):
            sink.write(sample(sequence))
        wait_for(lambda: sink.facts()["waiting"] == 0)
        sink.close()
        facts: dict[str, Any] = sink.facts()
        assert sorted(found["sequence"] for found in collected.samples()) == list(range(10))
        assert windows(collected) == []
    assert (facts["sent"], facts["dropped"]) == (10, 1)
