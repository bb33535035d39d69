"""A real Flower deployment, insecure: a process a message; monitored on both sides, and on one only."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployed_app import BURN_SECONDS, BURNING_PARTITION, CONFIG, SHAPE, WEIGHTS
from deployment import Deployment, write_app

from heflwr.flower import Entry, History

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NODES = 3

SOURCE = Path(__file__).with_name("deployed_app.py")

WHOLE, SERVER_ALONE, CLIENT_ALONE = "whole", "server-alone", "client-alone"
SIDES = {
    WHOLE: ("monitored_server", "monitored_client"),
    SERVER_ALONE: ("monitored_server", "client_app"),
    CLIENT_ALONE: ("server_app", "monitored_client"),
}
"""The runs, and the app's attributes that are their two sides."""


@dataclass
class Seen:
    """What the runs left behind, and which processes there were.

    Attributes:
        folder: Holds a folder of results a run.
        strays: Command lines of ClientApps and ServerApps that outlived their runs.
        left: Likewise of what outlived the deployment.
    """

    folder: Path
    strays: list[str]
    left: list[str]

    def history(self, run: str) -> tuple[Entry, ...]:
        return History.load(self.folder / run / "history.jsonl").entries

    def result(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / run / "result.json").read_text())
        return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Run three apps at once on one deployment; end it, and look around before and after."""
    folder = tmp_path_factory.mktemp("deployment")
    with Deployment(folder / "flower", nodes=NODES) as deployment:
        runs = []
        for name, (server, client) in SIDES.items():
            (folder / name).mkdir()
            app = write_app(folder / "apps" / name, SOURCE, server=server, client=client, config=CONFIG)
            runs.append(deployment.run(app, out=str(folder / name), evaluate=float(name == WHOLE)))
        for run in runs:
            run.wait()
        strays = deployment.outlasting("flwr-clientapp") + deployment.outlasting("flwr-serverapp")
    return Seen(folder, strays, deployment.outlasting())


def test_every_message_has_its_cost(seen: Seen) -> None:
    """Each node trains and evaluates, in processes that took some time to start."""
    entries = seen.history(WHOLE)
    expected = {(str(node), 1, kind): 1 for node in range(NODES) for kind in ("train", "evaluate")}
    assert expected == Counter((entry.name, entry.round, entry.kind) for entry in entries)
    for entry in entries:
        assert "ok" == entry.status
        assert entry.cost["startup_seconds"] > entry.cost["startup_cpu_seconds"] * 0.5
        assert entry.cost["startup_cpu_seconds"] > 0.1  # Flower and NumPy alone take longer to import
        assert entry.cost["memory_peak_bytes"] > 20e6
        assert not entry.in_simulation
        assert entry.started is not None
        assert entry.received is not None
        assert entry.sent < entry.started < entry.received  # one machine, one clock
        assert () == entry.notes


def test_a_known_burn_is_billed_to_the_node_that_burned(seen: Seen) -> None:
    """Within a tenth and 30 ms; the others' training costs next to nothing."""
    trainings = [entry for entry in seen.history(WHOLE) if entry.kind == "train"]
    assert NODES == len(trainings)
    for entry in trainings:
        burned = BURN_SECONDS if entry.name == str(BURNING_PARTITION) else 0.0
        assert burned == pytest.approx(entry.cost["cpu_seconds"], rel=0.1, abs=0.03), entry


def test_every_message_is_a_process_of_its_own(seen: Seen) -> None:
    """No call has another one before it in its process, so none tells of idle time."""
    for entry in seen.history(WHOLE):
        assert "startup_seconds" in entry.cost
        assert "idle_seconds" not in entry.cost


def test_a_plain_client_gives_a_history_without_cost(seen: Seen) -> None:
    """The server knows who answered, when, and how much travelled."""
    entries = seen.history(SERVER_ALONE)
    assert NODES == len({entry.node for entry in entries}) == len(entries)
    array_bytes = 8 * math.prod(SHAPE)
    for entry in entries:
        assert {} == entry.cost
        assert () == entry.notes
        assert array_bytes < entry.bytes_sent < 2 * array_bytes
        assert array_bytes < entry.bytes_received < 2 * array_bytes
        assert entry.round_trip_seconds is not None
        assert entry.round_trip_seconds > 0
        assert 0.5 == entry.metrics["loss"]


def test_a_plain_server_is_not_disturbed_by_reports(seen: Seen) -> None:
    """They ride along unnoticed, and a monitored server takes them off."""
    reports = {run: seen.result(run)["reports"] for run in SIDES}
    assert {CLIENT_ALONE: NODES, SERVER_ALONE: 0, WHOLE: 0} == reports


def test_the_model_is_what_averaging_makes_of_it(seen: Seen) -> None:
    """To the last bit, whichever side is monitored."""
    change = sum(weight * (1 + partition) for partition, weight in enumerate(WEIGHTS)) / sum(WEIGHTS)
    values = {run: seen.result(run)["values"] for run in SIDES}
    assert {run: [change] for run in SIDES} == values


def test_no_process_is_left(seen: Seen) -> None:
    """ClientApps end with their message, everything with the deployment."""
    assert [] == seen.strays
    assert [] == seen.left
