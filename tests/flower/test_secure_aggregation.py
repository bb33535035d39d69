"""Flower's SecAgg+ with every client measured: the server learns the sum and the costs, and no client's model."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from local_grid import LocalGrid, run_app
from numpy.typing import NDArray

from heflwr.flower import MonitorMod, monitored
from heflwr.flower.history.ledger import History
from heflwr.flower.records import RECORD

pytest.importorskip("flwr.server.workflow", reason="this Flower has no SecAgg+")

from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow

CLIENTS = 4
ROUNDS = 2
STAGES = 4
"""Of SecAgg+, a message to each client each: set up, share keys, collect masked vectors, unmask."""

TOLERANCE = 1e-3
"""SecAgg+ rounds at random, and rounds a client's weight times its model."""


class Learner(NumPyClient):
    """Moves the model by a step of its own."""

    def __init__(self, partition: int) -> None:
        self.partition = partition

    def fit(self, parameters, config):  # type: ignore[no-untyped-def]
        moved = [part + (1 + self.partition) / 7 for part in parameters]
        np.random.seed(self.partition)  # SecAgg+ rounds at random, by the generator that a user may have seeded
        return moved, 10 * (1 + self.partition), {}

    def evaluate(self, parameters, config):  # type: ignore[no-untyped-def]
        return float(np.sum(parameters[0])), 10, {}


def client_fn(context: Context):  # type: ignore[no-untyped-def]
    return Learner(int(context.node_config["partition-id"])).to_client()


class Kept(FedAvg):
    """FedAvg that keeps what each round's aggregate was."""

    def __init__(self) -> None:
        start = ndarrays_to_parameters([np.zeros((3, 2)), np.zeros(5)])
        many = {"min_fit_clients": CLIENTS, "min_evaluate_clients": CLIENTS, "min_available_clients": CLIENTS}
        super().__init__(initial_parameters=start, **many)
        self.aggregates: list[list[NDArray[np.float64]]] = []

    def aggregate_fit(self, server_round, results, failures):  # type: ignore[no-untyped-def]
        assert [] == failures
        found = super().aggregate_fit(server_round, results, failures)
        self.aggregates.append(parameters_to_ndarrays(found[0]))
        return found


def server_app(strategy: Kept) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        secure = SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2)
        legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=ROUNDS), strategy=strategy)
        DefaultWorkflow(fit_workflow=secure)(grid, legacy)

    return app


def run(server: str, client: str) -> tuple[Kept, History | None, LocalGrid]:
    """Run a federation; each side as it is, wrapped, or, the client, with the mod before Flower's."""
    strategy = Kept()
    app = server_app(strategy)
    if server == "wrapped":
        app = monitored(app)
    mods = [MonitorMod(), secaggplus_mod] if client == "mod" else [secaggplus_mod]
    clients = ClientApp(client_fn=client_fn, mods=mods)
    grid = run_app(app, monitored(clients) if client == "wrapped" else clients, CLIENTS)
    return strategy, app.history if server == "wrapped" else None, grid


@pytest.fixture(scope="module")
def unmonitored() -> tuple[Kept, LocalGrid]:
    """A federation without heflwr."""
    strategy, _, grid = run("plain", "plain")
    return strategy, grid


def test_the_aggregate_is_that_of_an_unmonitored_run_and_costs_are_known(unmonitored: tuple[Kept, LocalGrid]) -> None:
    """The same bits, the mean that it should be, and of every stage and client what it cost."""
    plain, bare = unmonitored
    watched, history, grid = run("wrapped", "wrapped")
    assert ROUNDS == len(plain.aggregates) == len(watched.aggregates)
    for expected, found in zip(plain.aggregates, watched.aggregates, strict=True):
        assert [part.tobytes() for part in expected] == [part.tobytes() for part in found]
    weights = np.arange(1, CLIENTS + 1)
    step = np.average(weights / 7, weights=weights)
    np.testing.assert_allclose(watched.aggregates[-1][0], np.full((3, 2), ROUNDS * step), atol=TOLERANCE)

    assert history is not None
    assert {} == history.faults
    sent = Counter((entry.name, entry.kind, entry.round) for entry in history.entries)
    expected_messages = {(str(client), "train", number): STAGES for client in range(CLIENTS) for number in (1, 2)}
    expected_messages |= {(str(client), "evaluate", number): 1 for client in range(CLIENTS) for number in (1, 2)}
    assert expected_messages == dict(sent)
    for entry in history.entries:
        assert "ok" == entry.status
        assert entry.cost["cpu_seconds"] >= 0
        assert entry.cost["seconds"] > 0
    assert len(bare.replies) == len(grid.replies) == len(history.entries)


@pytest.mark.parametrize("client", ["mod", "wrapped"])
def test_a_server_without_heflwr_carries_the_reports_unread(client: str, unmonitored: tuple[Kept, LocalGrid]) -> None:
    """The aggregate is the same, though every reply has a record that SecAgg+ does not know."""
    plain, _ = unmonitored
    strategy, _, grid = run("plain", client)
    assert all(RECORD in reply.content for reply in grid.replies)
    for expected, found in zip(plain.aggregates, strategy.aggregates, strict=True):
        assert [part.tobytes() for part in expected] == [part.tobytes() for part in found]
