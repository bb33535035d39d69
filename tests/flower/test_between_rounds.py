"""The live channel of a Flower app: what its resident agents tell between messages, and to whom."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Scene
from flwr.app import Context, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from local_grid import LocalGrid
from servers import free_port
from waiting import wait_for

from heflwr.flower import LiveChannel, MonitorMod, monitored
from heflwr.live import LiveCoordinator, Standing, read_watches
from heflwr.live.errors import WrongKeys, WrongWatches
from heflwr.live.keys import add, new

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the resident agent is for Linux")

MEMORY: dict[str, Any] = {"kind": "mean", "metric": "memory_bytes", "bound": 4e6}
HELD_MIB = 100
PATIENCE_SECONDS = 60.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path / "agents") as made:
        yield made


def known(coordinator: LiveCoordinator, live: int = 1) -> Standing:
    """Wait until so many agents take part and a bound is known."""

    def found() -> Standing | None:
        (standing,) = coordinator.standings
        return standing if standing.live == live and standing.bound is not None else None

    standing = wait_for(found, PATIENCE_SECONDS, f"an answer of {live} agents")
    assert standing is not None
    return standing


def test_a_coordinator_hears_of_a_supernode_between_its_messages(scene: Scene, tmp_path: Path) -> None:
    """Over CURVE, under the name of the key; memory that grows while no message is handled is in the answer.

    The agent says goodbye when its SuperNode ends.
    """
    server, node = tmp_path / "server", tmp_path / "node"
    add(server, "ann", new(node, new(server)))
    environment = {"HEFLWR_COORDINATOR_LISTEN": "127.0.0.1:0", "HEFLWR_COORDINATOR_KEYS": str(server)}
    with LiveChannel([MEMORY]).coordinator(environment) as coordinator:
        channel = LiveChannel([MEMORY], connect=coordinator.address, keys=node, interval=0.1)
        scene.met(live=channel).close()
        before = known(coordinator)
        scene.supernode.call("hold", HELD_MIB)

        def is_seen() -> bool:
            now = known(coordinator)
            assert before.value is not None
            assert now.value is not None
            return abs(now.value - before.value - HELD_MIB * 2**20) < 1e7

        wait_for(is_seen, PATIENCE_SECONDS, "what the SuperNode holds")
        assert {"ann"} == set(coordinator.reports()[before.name])
        scene.supernode.kill()
        wait_for(lambda: coordinator.standings[0].lost == 1, PATIENCE_SECONDS, "the agent's goodbye")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "live channel: no coordinator answers yet"),
        ({"keys": "/nowhere"}, "live channel: WrongKeys: cannot read /nowhere/secret.key"),
    ],
    ids=["no coordinator", "no keys"],
)
def test_a_live_channel_that_does_not_work_costs_no_numbers(scene: Scene, options: dict[str, Any], why: str) -> None:
    """The report says why, and what was used between the calls is there as without it."""
    channel = LiveChannel([MEMORY], connect=f"127.0.0.1:{free_port()}", interval=0.1, **options)
    resident = scene.met(live=channel)

    def is_told() -> bool:
        assert resident.mark() is not None
        return why in resident.note

    wait_for(is_told, PATIENCE_SECONDS, why)
    assert not resident.facts["live"]["is_taking_part"]


def test_the_server_has_its_coordinator_while_it_runs() -> None:
    """It can be asked from the app's own code, and listens no longer afterwards."""
    app = ServerApp()
    seen: list[Any] = []

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        assert server.live is not None
        seen.append((server.live.address, [standing.name for standing in server.live.standings]))

    address = f"127.0.0.1:{free_port()}"
    server = monitored(app, live=LiveChannel([MEMORY], listen=address))
    assert server.live is None
    for _ in range(2):
        server(LocalGrid(ClientApp(), 1), Context(1, 1, {}, RecordDict(), {}))
    assert [(address, ["mean memory_bytes"])] * 2 == seen
    assert pickle.loads(pickle.dumps(LiveChannel([MEMORY]))).plan({}) == LiveChannel([MEMORY]).plan({})


def test_the_environment_of_a_machine_comes_first(tmp_path: Path) -> None:
    """One app for all machines; a list may come from a file."""
    path = tmp_path / "watches.toml"
    path.write_text('[[watch]]\nkind = "mean"\nmetric = "memory_bytes"\nbound = 4e6\n')
    channel = LiveChannel(read_watches(path), connect="server:7100", keys="keys")
    assert ("server:7100", str(Path("keys").absolute())) == tuple(channel.plan({})[key] for key in ("connect", "keys"))
    environment = {"HEFLWR_AGENT_CONNECT": "other:7200", "HEFLWR_AGENT_KEYS": "/etc/keys"}
    assert ("other:7200", "/etc/keys") == tuple(channel.plan(environment)[key] for key in ("connect", "keys"))
    assert [MEMORY | {"name": "mean memory_bytes", "window": 1}] == channel.plan({})["watches"]


def test_wrong_settings_are_told_at_the_door(tmp_path: Path) -> None:
    """And keys where a side begins: the other machine's need not be here."""
    with pytest.raises(WrongWatches, match="kind must be one of"):
        LiveChannel([{"kind": "guess"}])
    with pytest.raises(ValueError, match="an address is HOST:PORT"):
        LiveChannel([MEMORY], connect="server")
    with pytest.raises(ValueError, match="interval must be from"):
        LiveChannel([MEMORY], interval=0.0)
    with pytest.raises(ValueError, match="give resident=True"):
        MonitorMod(live=LiveChannel([MEMORY]))
    with pytest.raises(WrongKeys, match="cannot read"):
        LiveChannel([MEMORY], keys=tmp_path).coordinator({})
    with pytest.raises(ValueError, match="without keys"):
        LiveChannel([MEMORY], listen="0.0.0.0:7100").coordinator({})
