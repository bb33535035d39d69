"""The bridge and the live channel in a real deployment with TLS: a SuperNode is stressed, and one is killed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployment import START_SECONDS, Deployment, write_app
from servers import free_port
from waiting import wait_for
from watched_app import (
    BETWEEN,
    BOUND,
    BURN_SECONDS,
    BURNING_PARTITION,
    CONFIG,
    KILLED,
    KILLED_PARTITION,
    ROUNDS,
    WAITING,
    WATCH,
)

from heflwr.flower import Entry, History

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NODES = 3


@dataclass
class Known:
    """What the server knew of one function after a round."""

    name: str
    round: int
    value: float
    bound: float
    live: int
    lost: int
    reports: int


@dataclass
class Seen:
    """What the run left behind."""

    entries: tuple[Entry, ...]
    log: list[Known]
    result: dict[str, Any]
    cipher: str

    def after(self, number: int) -> Known:
        """What was known of the mean after a round."""
        (found,) = (known for known in self.log if known.round == number and known.name == "mean cpu_user_seconds")
        return found

    def costs(self, number: int) -> dict[str, float]:
        """What each node's training of a round cost, by its partition."""
        return {
            entry.name: entry.cost["cpu_user_seconds"] for entry in self.entries if entry.round == number and entry.cost
        }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What came of a run, with the address of the live channel in every environment."""
    folder = tmp_path_factory.mktemp("watched")
    app = write_app(
        folder / "tested",
        Path(__file__).with_name("watched_app.py"),
        server="watched_server",
        client="watched_client",
        config=CONFIG,
    )
    meeting = f"127.0.0.1:{free_port()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEFLWR_AGENT_CONNECT", meeting)
        patch.setenv("HEFLWR_COORDINATOR_LISTEN", meeting)
        return run_app(folder, app)


def run_app(folder: Path, app: Path) -> Seen:
    """Run the app; kill a SuperNode when the server waits for that."""
    with Deployment(folder / "flower", nodes=NODES, is_secure=True) as deployment:
        run = deployment.run(app, out=str(folder))

        def is_waiting() -> bool:
            assert not run.is_over, deployment.logs()
            return (folder / WAITING).exists()

        wait_for(is_waiting, 4 * START_SECONDS, "three rounds")
        deployment.nodes[KILLED_PARTITION].kill()
        (folder / KILLED).touch()
        cipher = deployment.cipher()
        run.wait()
    result = json.loads((folder / "result.json").read_text())
    entries = History.load(folder / "history.jsonl").entries
    return Seen(entries, [Known(*row) for row in result["log"]], result, cipher)


def test_every_round_has_an_answer_within_its_bound(seen: Seen) -> None:
    """Of what the nodes' own costs say, of those that count."""
    assert seen.cipher.startswith("TLS")
    assert {} == seen.result["faults"]
    latest: dict[str, float] = {}
    for number in range(1, ROUNDS + 1):
        latest |= seen.costs(number)
        if number == ROUNDS:
            del latest[str(KILLED_PARTITION)]
        known = [known for known in seen.log if known.round == number]
        assert len(WATCH) * (number != ROUNDS - 1) == len(known)  # while a reply is awaited, nothing is settled
        for one in known:
            if one.name == BETWEEN:
                continue
            truth = sum(latest.values()) / (1 if one.name.startswith("total") else len(latest))
            assert abs(truth - one.value) <= one.bound + 1e-9, one


def test_the_stressed_node_shows_at_once_and_the_others_are_silent(seen: Seen) -> None:
    """Three vectors at first; then one, of the node that burned, in the round in which it did."""
    reports = {number: seen.after(number).reports for number in (1, 2, 3)}
    assert {1: NODES, 2: NODES, 3: NODES + 1} == reports
    costs = seen.costs(3)
    assert 0.8 * BURN_SECONDS < costs[str(BURNING_PARTITION)]
    assert all(cost < BOUND for name, cost in costs.items() if name != str(BURNING_PARTITION))
    before, after = seen.after(2), seen.after(3)
    assert after.value - after.bound > before.value + before.bound


def test_a_killed_node_is_lost_after_its_lease(seen: Seen) -> None:
    """From then on the answer is of the others."""
    assert [(3, 0)] * 3 + [(2, 1)] == [(seen.after(number).live, seen.after(number).lost) for number in (1, 2, 3, 5)]


def test_what_a_resident_agent_samples_between_calls_is_watched_too(seen: Seen) -> None:
    """Once the agents count: what the SuperNodes used between the calls, of which the costs tell as well."""
    (known,) = (known for known in seen.log if known.round == ROUNDS and known.name == BETWEEN)
    assert NODES - 1 == known.live
    costs = [entry.cost for entry in seen.entries if entry.round == ROUNDS and "idle_cpu_seconds" in entry.cost]
    usage = [100 * cost["idle_cpu_seconds"] / cost["idle_seconds"] / (os.cpu_count() or 1) for cost in costs]
    assert NODES - 1 == len(usage)
    assert abs(known.value - sum(usage) / len(usage)) <= known.bound + 5.0  # two ways to measure the same


def test_between_two_rounds_the_live_channel_answers(seen: Seen) -> None:
    """The agents beside the SuperNodes tell the coordinator in the ServerApp's process; that of the killed one is gone.

    The answer is of the memory of whole SuperNodes, which are alike.
    """
    before, after = seen.result["between"]
    assert [(NODES, 0), (NODES - 1, 1)] == [(known["live"], known["lost"]) for known in (before, after)]
    assert ["exact", "exact"] == [known["guarantee"] for known in (before, after)]
    assert 20e6 < after["value"] < 2e9
    assert before["updates"] < after["updates"]


def test_nothing_of_it_is_seen_by_the_app(seen: Seen) -> None:
    """On either side."""
    assert ["config", "told"] == seen.result["names"]
