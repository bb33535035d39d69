"""Rounds of a federation as windows of a collector's clients."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from agents import Scene
from clouds_app import Learned, client, server
from local_grid import run_app
from servers import collector
from waiting import wait_for

from heflwr.flower import monitored
from heflwr.flower.client import measure
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.remote import RemoteSink


def windows(url: str) -> list[dict[str, Any]]:
    """Return what a collector's page shades."""
    return list(requests.get(f"{url}/api/v1/windows", timeout=10).json()["windows"])


def test_every_call_is_a_window_named_after_its_round(tmp_path: Path) -> None:
    """Each node's train and evaluate of each round, closed; a sink that knows no windows gets samples all the same."""
    began = time.time()
    with collector(tmp_path / "fleet.db") as fleet:
        app = monitored(client(), sinks=[FileSink(tmp_path / "run.jsonl", format="jsonl"), RemoteSink(fleet.url)])
        served = monitored(server(Learned()))
        run_app(served, app)
        wait_for(lambda: measure._process.relay.is_idle, 60)

        wait_for(lambda: sum(window["end"] is not None for window in windows(fleet.url)) == 12, 60)
        found = windows(fleet.url)
    expected = sorted((f"node {node}", f"round {round}") for node in range(3) for round in (1, 2) for _ in range(2))
    assert sorted((window["identifier"], window["name"]) for window in found) == expected
    assert all(began <= window["start"] <= window["end"] <= time.time() for window in found)
    assert not any("Error" in note for entry in served.history.entries for note in entry.notes)
    assert (tmp_path / "run.jsonl").read_text().count('"sequence"') >= 12


@pytest.mark.skipif(sys.platform != "linux", reason="the resident agent is for Linux")
def test_the_sinks_of_a_resident_agent_are_told_of_rounds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the agent is there; the run's samples are in the same place, and go on after the call."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with collector(tmp_path / "fleet.db") as fleet:
        app = monitored(client(), resident=True, sinks=[RemoteSink(fleet.url)])

        def is_counting() -> bool:
            served = monitored(server(Learned(), nodes=1))
            run_app(served, app, 1)
            return not any(entry.notes for entry in served.history.entries)

        try:
            wait_for(is_counting, 60, "an agent")
        finally:
            shutil.rmtree(tmp_path / "heflwr")  # the agent ends with its socket, and sends what it has

        def shown() -> list[dict[str, Any]]:
            found = [window for window in windows(fleet.url) if window["end"] is not None]
            return found if {"round 1", "round 2"} == {window["name"] for window in found} else []

        found = wait_for(shown, 60, "two rounds")
        assert {"node 0"} == {window["identifier"] for window in found}
        assert {sample["run"] for sample in fleet.samples()} == {window["run"] for window in found}


@pytest.mark.skipif(sys.platform != "linux", reason="the resident agent is for Linux")
def test_a_call_that_breaks_off_is_a_window_with_an_end(tmp_path: Path) -> None:
    """Whether the client goes away or the agent does; what lies between two calls is none."""
    with collector(tmp_path / "fleet.db") as fleet, Scene(tmp_path / "agents") as scene:
        scene.met(sinks=[RemoteSink(fleet.url)]).close()
        for name in ("left", "stayed"):
            resident = scene.resident()
            assert resident.mark(name) is not None
            if name == "left":
                resident.close()
        os.kill(resident.facts["pid"], signal.SIGTERM)

        def ended() -> list[str]:
            return [window["name"] for window in windows(fleet.url) if window["end"] is not None]

        wait_for(lambda: sorted(ended()) == ["left", "stayed"], 60, "both ends")
        assert 2 == len(windows(fleet.url))
