"""Rounds of a federation as windows of a collector's clients."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import requests
from clouds_app import Learned, client, server
from local_grid import run_app
from servers import collector
from waiting import wait_for

from heflwr.flower import monitored
from heflwr.flower.client import measure
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.remote import RemoteSink


def test_every_call_is_a_window_named_after_its_round(tmp_path: Path) -> None:
    """Each node's train and evaluate of each round, closed; a sink that knows no windows gets samples all the same."""
    began = time.time()
    with collector(tmp_path / "fleet.db") as fleet:
        app = monitored(client(), sinks=[FileSink(tmp_path / "run.jsonl", format="jsonl"), RemoteSink(fleet.url)])
        served = monitored(server(Learned()))
        run_app(served, app)
        wait_for(lambda: measure._process.relay.is_idle, 60)

        def windows() -> list[dict[str, Any]]:
            return list(requests.get(f"{fleet.url}/api/v1/windows", timeout=10).json()["windows"])

        wait_for(lambda: sum(window["end"] is not None for window in windows()) == 12, 60)
        found = windows()
    expected = sorted((f"node {node}", f"round {round}") for node in range(3) for round in (1, 2) for _ in range(2))
    assert sorted((window["identifier"], window["name"]) for window in found) == expected
    assert all(began <= window["start"] <= window["end"] <= time.time() for window in found)
    assert not any("Error" in note for entry in served.history.entries for note in entry.notes)
    assert (tmp_path / "run.jsonl").read_text().count('"sequence"') >= 12
