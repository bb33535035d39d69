"""A real Flower deployment: a SuperNode is killed in mid-call and brought back, and another one joins late."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from deployed_app import CONFIG, HELD, HELD_PARTITION, KILLED
from deployment import AGENT, GRACE_SECONDS, START_SECONDS, Deployment, write_app
from waiting import wait_for

from heflwr.flower import Entry, History
from heflwr.flower.entry import ERROR, LOST, OK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NODES = 3
LATE_PARTITION = 3
ROUNDS = 2


@dataclass
class Seen:
    """What the run left behind.

    Attributes:
        entries: The history, as it was saved at the end.
        growing: The same, as it went into a file while the rounds went on.
        dead: Id of the SuperNode that was killed.
        agents: How many of the first SuperNodes' agents there were before and after the kill.
        left: Command lines of processes that outlived the deployment.
    """

    entries: tuple[Entry, ...]
    growing: tuple[Entry, ...]
    dead: int
    agents: tuple[int, int]
    left: list[str]

    def lives(self, partition: int) -> list[list[Entry]]:
        """Return what became of a partition's messages, a list a life: a SuperNode that comes back has a new id."""
        nodes = dict.fromkeys(entry.node for entry in self.entries if entry.name == str(partition))
        return [[entry for entry in self.entries if entry.node == node] for node in nodes]


STEADY_LOOKS = 20
"""So many looks in a row at the same agents: whoever was only starting one is gone by then."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Kill the held node in its first training; bring it back; have one more join before the second round."""
    folder = tmp_path_factory.mktemp("killed")
    app = write_app(
        folder / "tested",
        Path(__file__).with_name("deployed_app.py"),
        server="bereaved_server",
        client="resident_client",
        config=CONFIG,
    )
    with Deployment(folder / "flower", nodes=NODES) as deployment:
        run = deployment.run(app, out=str(folder), rounds=ROUNDS, hold=True, newcomers=2)

        looks: list[list[psutil.Process]] = []

        def is_held() -> bool:
            assert not run.is_over, deployment.logs()
            looks.append(sorted(deployment.processes(AGENT), key=lambda agent: agent.pid))
            has_settled = all(look == looks[-1] for look in looks[-STEADY_LOOKS:])  # no starter of one among them
            return (folder / HELD).exists() and len(looks) > STEADY_LOOKS and has_settled and len(looks[-1]) == NODES

        wait_for(is_held, START_SECONDS, "a training to be killed")
        agents = looks[-1]
        deployment.nodes[HELD_PARTITION].kill()
        deployment.add_node(HELD_PARTITION)
        deployment.add_node(LATE_PARTITION)
        wait_for(lambda: not all(agent.is_running() for agent in agents), GRACE_SECONDS, "the end of the node's agent")
        after = sum(agent.is_running() for agent in agents)
        (folder / KILLED).touch()
        run.wait()
    return Seen(
        entries=History.load(folder / "history.jsonl").entries,
        growing=History.load(folder / "growing.jsonl").entries,
        dead=int((folder / HELD).read_text()),
        agents=(len(agents), after),
        left=deployment.outlasting(),
    )


def test_the_run_goes_on_and_the_killed_message_is_lost(seen: Seen) -> None:
    """Two of three answer in the first round; the third message got no reply, and cost nobody knows what."""
    first = [entry for entry in seen.entries if entry.round == 1 and entry.kind == "train"]
    assert {("0", OK), ("1", OK), (str(seen.dead), LOST)} == {(entry.name, entry.status) for entry in first}
    (lost,) = (entry for entry in first if entry.status == LOST)
    assert seen.dead == lost.node
    assert {} == lost.cost
    assert lost.received is None
    assert lost.bytes_sent > 0


def test_a_message_to_a_dead_node_is_not_answered_in_time(seen: Seen) -> None:
    """Flower's own timeout passes; or Flower has noticed by then that the node is gone, and says so."""
    (query,) = (entry for entry in seen.entries if entry.kind == "query")
    assert seen.dead == query.node
    assert query.status in (LOST, ERROR)


def test_a_node_that_comes_back_has_a_new_life(seen: Seen) -> None:
    """To Flower it is another node; its partition's name says which one it is."""
    ((back,),) = seen.lives(HELD_PARTITION)
    assert back.node != seen.dead
    assert (2, OK) == (back.round, back.status)
    assert back.cost["startup_seconds"] > 0


def test_a_node_that_joins_late_shows_up(seen: Seen) -> None:
    """From the round on in which it took part."""
    ((late,),) = seen.lives(LATE_PARTITION)
    assert (2, OK) == (late.round, late.status)
    assert late.cost["startup_seconds"] > 0


def test_the_other_nodes_have_their_cost_in_both_rounds(seen: Seen) -> None:
    """Whoever lives is measured as if nothing had happened."""
    for partition in (0, 1):
        (life,) = seen.lives(partition)
        assert [(1, OK), (2, OK)] == [(entry.round, entry.status) for entry in life]
        assert all(entry.cost["cpu_seconds"] >= 0 for entry in life)


def test_the_growing_file_tells_the_same(seen: Seen) -> None:
    """What went into a file while the rounds went on is what was saved at the end."""
    assert seen.growing == tuple(entry for entry in seen.entries if entry.kind != "query")


def test_a_killed_node_takes_its_agent_along(seen: Seen) -> None:
    """Its own only; and nothing outlives the deployment."""
    assert (NODES, NODES - 1) == seen.agents
    assert [] == seen.left
