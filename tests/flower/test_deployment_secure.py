"""A real Flower deployment with TLS, SuperNodes that must prove who they are, processes apart, and resident agents."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployed_app import BURN_SECONDS, BURNING_PARTITION, CONFIG
from deployment import AGENT, Deployment, write_app

from heflwr.flower import Entry, History

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NODES = 2
ROUNDS = 3
"""The agents are started in the first, count from the beginning of the second, and tell in the third."""


@dataclass
class Seen:
    """What the run left behind, and what was seen on the way.

    Attributes:
        entries: The history.
        result: What the ServerApp says.
        cipher: What the SuperLink encrypts with, for one who trusts the authority alone.
        stranger: Exit code of a SuperNode with a key that nobody registered, and what it printed.
        agents: How many resident agents there were after the run.
        lasting_agents: Command lines of those that outlived the SuperNodes.
        left: Likewise of whatever outlived the deployment.
    """

    entries: tuple[Entry, ...]
    result: dict[str, Any]
    cipher: str
    stranger: tuple[int, str]
    agents: int
    lasting_agents: list[str]
    left: list[str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Run an app with agents; end the SuperNodes, then the rest."""
    folder = tmp_path_factory.mktemp("secure")
    app = write_app(
        folder / "tested",
        Path(__file__).with_name("deployed_app.py"),
        server="monitored_server",
        client="resident_client",
        config=CONFIG,
    )
    with Deployment(folder / "flower", nodes=NODES, is_secure=True, isolation="process") as deployment:
        run = deployment.run(app, out=str(folder), nodes=NODES, rounds=ROUNDS)
        cipher = deployment.cipher()
        stranger = deployment.add_node(NODES, is_registered=False)
        refusal = stranger.wait(), stranger.log
        run.wait()
        agents = len(deployment.processes(AGENT))
        deployment.end_nodes()
        lasting_agents = deployment.outlasting(AGENT)
    return Seen(
        entries=History.load(folder / "history.jsonl").entries,
        result=json.loads((folder / "result.json").read_text()),
        cipher=cipher,
        stranger=refusal,
        agents=agents,
        lasting_agents=lasting_agents,
        left=deployment.outlasting(),
    )


def test_the_deployment_is_as_secure_as_it_says(seen: Seen) -> None:
    """TLS with a certificate that the authority signed; no SuperNode that has not been registered."""
    assert seen.cipher.startswith("TLS")
    assert 0 != seen.stranger[0]
    assert "could not establish a connection" in seen.stranger[1]


def test_every_message_has_its_cost(seen: Seen) -> None:
    """TLS, authentication and processes apart change nothing: each node, each round, with the known burn."""
    expected = {(str(node), round_number) for node in range(NODES) for round_number in range(1, ROUNDS + 1)}
    assert len(expected) == len(seen.entries)
    assert expected == {(entry.name, entry.round) for entry in seen.entries}
    for entry in seen.entries:
        assert ("ok", "train") == (entry.status, entry.kind)
        burned = BURN_SECONDS if entry.name == str(BURNING_PARTITION) else 0.0
        assert burned == pytest.approx(entry.cost["cpu_seconds"], rel=0.1, abs=0.03), entry
        assert entry.cost["startup_cpu_seconds"] > 0.1


def test_an_agent_a_node_tells_what_lay_between_the_calls(seen: Seen) -> None:
    """More time than the call's own process has lived, and the CPU time that the process took to start."""
    assert NODES == seen.agents
    last = [entry for entry in seen.entries if entry.round == ROUNDS]
    assert NODES == len(last)
    for entry in last:
        assert () == entry.notes
        assert entry.cost["idle_seconds"] > entry.cost["startup_seconds"]
        assert entry.cost["idle_cpu_seconds"] > 0.5 * entry.cost["startup_cpu_seconds"]


def test_a_report_says_why_the_agent_has_nothing_to_tell_yet(seen: Seen) -> None:
    """The first message of a node finds no agent, and starts one."""
    for entry in seen.entries:
        if entry.round == 1:
            assert "idle_seconds" not in entry.cost
            assert any(note.startswith("resident agent: starting") for note in entry.notes)


def test_agents_end_with_their_nodes_and_nothing_is_left(seen: Seen) -> None:
    """Nobody tells an agent to end but the end of what it watches."""
    assert [] == seen.lasting_agents
    assert [] == seen.left
