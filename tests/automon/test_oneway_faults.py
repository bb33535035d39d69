"""What a fleet in the field does to the one-way protocol: losses in a row, redeployment, points without derivatives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from heflwr.automon.box import Box
from heflwr.automon.coordinator import Coordinator
from heflwr.automon.function import Function
from heflwr.automon.messages import COORDINATOR, Envelope, Vector
from heflwr.automon.protocols.door import MOST_REFUSALS
from heflwr.automon.protocols.node import Node
from heflwr.automon.simulation import simulate

VARIANCE = Function(
    lambda x: x[1] - x[0] ** 2,
    2,
    gradient=lambda x: np.array([-2 * x[0], 1.0]),
    hessian=np.array([[-2.0, 0.0], [0.0, 0.0]]),
)
TURNED = np.array([[0.0, 1.0], [1.0, 0.0]])
PRODUCT = Function(lambda x: x[0] * x[1], 2, gradient=lambda x: TURNED @ x, hessian=TURNED)
ROOT = Function(lambda x: jnp.sqrt(x[0]), 1, Box(np.zeros(1), np.ones(1)))


class Fleet:
    """A coordinator and nodes joined by hand."""

    def __init__(self, function: Function, nodes: int, error_bound: float) -> None:
        self.function = function
        self.coordinator = Coordinator(function, nodes, error_bound)
        self.nodes = [Node(i, function) for i in range(nodes)]
        self.messages = 0

    def carry(self, envelopes: Iterable[Envelope], lost: int | None = None) -> None:
        """Delivers everything, but what goes to `lost`."""
        waiting = list(envelopes)
        while waiting:
            envelope = waiting.pop(0)
            self.messages += 1
            if envelope.to != lost:
                receiver = self.coordinator if envelope.to == COORDINATOR else self.nodes[envelope.to]
                waiting += receiver.receive(envelope.message)

    def beat(self, node: int) -> list[Envelope]:
        state = self.nodes[node].state
        return self.coordinator.heard(node, state.version, state.sequence)

    @property
    def error(self) -> float:
        mean = np.mean([node.state.vector for node in self.nodes], axis=0)
        return abs(self.function.value(mean) - self.coordinator.answer.value)


def load(value: float) -> np.ndarray:
    return np.array([value, value * value])


def test_two_losses_and_a_new_zone_are_found_by_the_next_heartbeat() -> None:
    """A lost report, then its repair lost, then a zone for all: the node must not keep an anchor nobody else knows."""
    fleet = Fleet(VARIANCE, 3, 0.1)
    for node, value in enumerate((0.2, 0.3, 0.4)):
        fleet.carry(fleet.nodes[node].update(load(value)))
    for node in range(3):
        fleet.carry(fleet.beat(node))
    fleet.carry(fleet.nodes[0].update(load(0.95)), lost=COORDINATOR)
    fleet.carry(fleet.beat(0), lost=0)
    zones = fleet.coordinator.full_syncs
    for turn in range(200):
        if fleet.coordinator.full_syncs > zones:
            break
        for node in (1, 2):
            fleet.carry(fleet.nodes[node].update(load(min(1.0, 0.3 + 0.3 * (turn % 2) + 0.01 * turn))))
    assert fleet.coordinator.full_syncs > zones
    for node in range(3):
        fleet.carry(fleet.beat(node))
    for node in (1, 2):
        fleet.carry(fleet.nodes[node].update(load(0.2)))
    anchors = [node.state.anchor for node in fleet.nodes]
    assert np.array_equal(fleet.coordinator.state["anchors"], np.array(anchors))
    assert fleet.error <= 0.1


def test_a_fleet_that_begins_anew_goes_on_in_silence() -> None:
    """Nodes that count their updates from 1 again do not make the coordinator believe that zones are dear."""
    fleet = Fleet(PRODUCT, 5, 0.01)
    random = np.random.default_rng(0)
    x = random.normal(size=(5, 2))
    costs = []
    for turn in range(3000):
        x = 0.999 * x + random.normal(0, 0.01, x.shape)
        if turn == 2000:
            for node in range(5):
                fleet.carry(fleet.coordinator.lost(node))
                fleet.nodes[node] = Node(node, PRODUCT)
                fleet.carry(fleet.coordinator.join(node))
        for node in range(5):
            fleet.carry(fleet.nodes[node].update(x[node]))
        if turn % 1000 == 999:
            costs.append(fleet.messages)
            fleet.messages = 0
    assert costs[2] < 4 * costs[1]


def test_where_f_has_no_gradient_every_change_is_reported() -> None:
    """sqrt at 0 has a value and no derivatives: the answer follows all the same."""
    fleet = Fleet(ROOT, 3, 0.1)
    for value in [0.4] * 50 + [0.0, 0.0, 0.3]:
        for node in fleet.nodes:
            fleet.carry(node.update(np.array([value])))
        assert fleet.error <= 0.1


def test_the_rounding_of_a_mean_does_not_leave_the_domain() -> None:
    """Three times 0.1 has a mean above 0.1 by an ulp; the border of a domain is inside."""
    assert np.full(3, 0.1).mean() > 0.1
    f = Function(lambda x: jnp.sqrt(0.1 - x[0]) * jnp.exp(x[1]), 2, Box(np.zeros(2), np.array([0.1, 1.0])))
    data = np.full((5, 3, 2), 0.1)
    report = simulate(f, data, 0.05)
    assert (3, 3) == (report.messages, report.nodes)
    assert np.array_equal(np.zeros(5), report.estimates)


def test_an_empty_fleet_has_no_answer() -> None:
    """When all nodes are lost there is no mean, and the value says so."""
    fleet = Fleet(PRODUCT, 2, 0.1)
    for node in range(2):
        fleet.carry(fleet.nodes[node].update(np.ones(2)))
    for node in range(2):
        fleet.carry(fleet.coordinator.lost(node))
    assert np.isnan(fleet.coordinator.answer.value)
    assert 0 == fleet.coordinator.answer.live


@pytest.mark.parametrize("protocol", ["oneway", "gm"])
def test_a_node_that_only_sends_what_is_refused_is_given_up(protocol: Any) -> None:
    """Nobody waits for it any more, and why is known; with a sound vector it takes part again."""
    coordinator = Coordinator(PRODUCT, 3, 0.1, protocol)
    nodes = [Node(0, PRODUCT), Node(1, PRODUCT), Node(2, VARIANCE)]
    told: list[Envelope] = []
    for node in nodes[:2]:
        told += coordinator.receive(*[each.message for each in node.update(np.ones(2))])
    other = Node(2, Function(lambda x: x.sum(), 3, gradient=lambda x: np.ones(3), hessian=np.zeros((3, 3))))
    for turn in range(MOST_REFUSALS):
        assert not coordinator.answer.is_quiescent
        assert {} == coordinator.unfit
        told += coordinator.receive(*[each.message for each in other.update(np.full(3, turn))])
    answer = coordinator.answer
    assert (2, 1, 0) == (answer.live, answer.lost, answer.stale)
    assert (MOST_REFUSALS, [2]) == (coordinator.refused, list(coordinator.unfit))
    assert "f takes vectors of shape (2,), got (3,)" in coordinator.unfit[2]
    assert {0, 1} == {envelope.to for envelope in told}
    assert [] == coordinator.resend() == coordinator.receive(*[each.message for each in other.update(np.zeros(3))])
    coordinator.receive(*[each.message for each in nodes[2].update(np.ones(2))])
    assert (3, 0, {}) == (coordinator.answer.live, coordinator.answer.lost, coordinator.unfit)


def test_a_known_node_is_not_given_up_for_nonsense_in_its_name() -> None:
    """Its anchor counts whatever else arrives: refused, counted, no more."""
    fleet = Fleet(PRODUCT, 2, 0.1)
    for node in range(2):
        fleet.carry(fleet.nodes[node].update(np.ones(2)))
    for _ in range(3 * MOST_REFUSALS):
        assert [] == fleet.coordinator.receive(Vector(0, 0, np.zeros(3)))
    assert (2, 0, 3 * MOST_REFUSALS) == (
        fleet.coordinator.answer.live,
        fleet.coordinator.answer.lost,
        fleet.coordinator.refused,
    )


def test_a_state_of_something_else_is_refused() -> None:
    """A checkpoint of another dimension or another protocol is told apart at once."""
    state = Coordinator(PRODUCT, 3, 0.1).state
    with pytest.raises(ValueError, match="2 numbers, f has 1"):
        Coordinator.from_state(state, ROOT, 0.1)
    with pytest.raises(ValueError, match="lacks anchors"):
        Coordinator.from_state(Coordinator(PRODUCT, 3, 0.1, "gm").state, PRODUCT, 0.1)


@pytest.mark.parametrize("protocol", ["oneway", "gm"])
@pytest.mark.parametrize(
    ("nodes", "bound", "said"),
    [
        (0, 0.1, "nodes must be >= 1 and whole, got 0"),
        (2.5, 0.1, "nodes must be >= 1 and whole, got 2.5"),
        (True, 0.1, "nodes must be >= 1 and whole, got True"),
        (2, 0.0, "error_bound must be > 0 and finite, got 0.0"),
        (2, float("inf"), "error_bound must be > 0 and finite, got inf"),
        (2, float("nan"), "error_bound must be > 0 and finite, got nan"),
        (2, "0.1", "error_bound must be > 0 and finite, got '0.1'"),
    ],
)
def test_a_coordinator_names_the_argument_that_it_cannot_use(
    protocol: str, nodes: int, bound: float, said: str
) -> None:
    """At the door, with the value, whatever the protocol."""
    with pytest.raises(ValueError, match=said):
        Coordinator(PRODUCT, nodes, bound, protocol)
