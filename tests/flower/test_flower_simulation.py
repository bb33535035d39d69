"""Attribution in Flower's own simulation: virtual clients share Ray's workers, and each call's cost is its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heflwr.flower import History

SCRIPT = Path(__file__).with_name("burning_simulation.py")
ACTORS, NODES, ROUNDS = 2, 10, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulation")
    arguments = [str(ACTORS), str(NODES), str(ROUNDS), str(folder)]
    home = {"FLWR_HOME": str(folder / "flwr-home")}
    run = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=os.environ | home, capture_output=True, text=True, timeout=110
    )
    assert 0 == run.returncode, run.stderr
    return folder


@pytest.fixture(scope="module")
def history(folder: Path) -> History:
    return History.load(folder / "history.jsonl")


def test_everyone_is_measured_in_every_round(history: History) -> None:
    """Ten nodes, two rounds: each entry has a cost and knows that it is a simulation's."""
    assert {(str(node), round) for node in range(NODES) for round in range(1, ROUNDS + 1)} == {
        (entry.name, entry.round) for entry in history.entries
    }
    assert all(entry.in_simulation and entry.cost for entry in history.entries)
    assert {} == history.faults
    assert {()} == {entry.notes for entry in history.entries}


def test_each_call_costs_its_own(history: History) -> None:
    """Known burns of 0.2, 0.5 and 1.0 s, nothing, and others between them: within 5 % and 10 ms."""
    for entry in history.entries:
        if int(entry.name) < 3:
            wanted = (0.2, 0.5, 1.0)[int(entry.name)]
            assert abs(entry.cost["cpu_seconds"] - wanted) <= 0.05 * wanted + 0.01, entry
        elif int(entry.name) > 4:
            assert entry.cost["cpu_seconds"] < 0.02, entry


def test_threads_and_children_are_the_calls_too(history: History) -> None:
    """BLAS threads and a child that was waited for, against what the node itself knows."""
    for entry in history.entries:
        if entry.name in ("3", "4"):
            known = entry.metrics["known"]
            assert known >= 0.45
            sampler = 0.03 if entry.name == "3" else 0.0  # the process's clock counts our own thread, too
            assert abs(entry.cost["cpu_seconds"] - known) <= 0.05 * known + 0.01 + sampler, entry


def test_the_time_in_the_queue_is_known(history: History) -> None:
    """Ten calls for one or two workers: who comes last has waited for the others."""
    for number in range(1, ROUNDS + 1):
        entries = [entry for entry in history.entries if entry.round == number]
        assert all(entry.queue_seconds is not None for entry in entries)
        assert max(entry.queue_seconds or 0 for entry in entries) > 0.5
        assert all((entry.queue_seconds or 0) <= (entry.round_trip_seconds or 0) for entry in entries)


def test_rays_own_cost_stands_apart(history: History) -> None:
    """The whole tree's CPU time is more than the clients': start-up of the workers, and the rest."""
    overhead = history.overhead
    clients = sum(entry.cost["cpu_seconds"] for entry in history.entries)
    assert overhead.clients_cpu_seconds == pytest.approx(clients)
    assert overhead.startup_cpu_seconds > 0.3  # each worker imports Flower
    assert overhead.cpu_seconds > clients + overhead.startup_cpu_seconds
    assert overhead.overhead_cpu_seconds == pytest.approx(overhead.cpu_seconds - clients)
    first = [entry for entry in history.entries if "startup_seconds" in entry.cost]
    assert 1 <= len(first) <= 2


def test_the_fleets_answers_are_of_what_the_workers_measured(folder: Path, history: History) -> None:
    """Each round, whatever actor a node is in: within the bound of the mean and the total of the costs it reported."""
    told = json.loads((folder / "fleet.json").read_text())
    assert {} == told["faults"]
    assert 2 * NODES * ROUNDS == told["replies"]
    assert 2 * ROUNDS == len(told["log"])
    for name, number, value, bound, live in told["log"]:
        costs = [entry.cost[name.split()[1]] for entry in history.entries if entry.round == number]
        assert NODES == len(costs) == live
        truth = sum(costs) if name.startswith("total") else sum(costs) / NODES
        assert abs(truth - value) <= bound + 1e-9
        assert bound <= 1.1 * (1.0 if name.startswith("total") else 0.05)
