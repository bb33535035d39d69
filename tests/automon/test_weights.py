"""Nodes that report more get a larger part of the zone, and the parts together are never more than the whole."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heflwr.automon.coordinator import Coordinator
from heflwr.automon.function import Function
from heflwr.automon.messages import COORDINATOR, Envelope, Report, Request
from heflwr.automon.protocols.bent import Bent
from heflwr.automon.protocols.node import Node
from heflwr.automon.protocols.oneway import OnewayCoordinator, OnewayFleet, choose_certifier, weights
from heflwr.automon.protocols.oneway.weights import LEVELS, dealt, saved, within
from heflwr.automon.simulation import simulate
from heflwr.automon.zones.drift import DriftZone, PointZone, ShiftedZone
from heflwr.automon.zones.slab import SlabZone

TURNED = np.array([[0.0, 1.0], [1.0, 0.0]])
PRODUCT = Function(lambda x: x[0] * x[1], 2, gradient=lambda x: TURNED @ x, hessian=TURNED)
LINEAR = Function(lambda x: x[0] - 2 * x[1], 2, gradient=lambda x: np.array([1.0, -2.0]), hessian=np.zeros((2, 2)))
CONVEX = Function(jax.nn.logsumexp, 2)


def restless(rounds: int, nodes: int, times: float, seed: int = 0) -> np.ndarray:
    """Random walks of which the first goes so many times as fast as the others."""
    steps = np.random.default_rng(seed).normal(0, 0.004, (rounds, nodes, 2))
    steps[:, 0] *= times
    return 1 + np.cumsum(steps, axis=0)


@given(
    parts=st.lists(st.tuples(st.sampled_from(LEVELS.tolist()), st.integers(0, 400)), min_size=1, max_size=30),
    is_calm=st.booleans(),
)
def test_what_is_dealt_is_no_more_than_there_is(parts: list[tuple[float, int]], is_calm: bool) -> None:
    """The sum is n at most, each weight a level; of two alike, the one that reports more gets no less."""
    before = within(np.array([weight for weight, _ in parts]))
    if before.sum() > len(before):  # more than a departure leaves lacking
        before = np.ones(len(parts))
    reports = np.array([0 if is_calm else count for _, count in parts])
    after = dealt(before, reports)
    assert after.sum() <= len(parts) * (1 + 1e-9)
    assert np.isin(after, LEVELS).all()
    for i in range(len(parts)):
        for j in range(len(parts)):
            assert not (before[i] == before[j] and reports[i] > reports[j]) or after[i] >= after[j]
    if not reports.any():
        assert np.array_equal(before, after)


def test_without_evidence_nothing_is_dealt() -> None:
    """Counts that differ as chance has it leave the weights alone; one node apart does not."""
    even = np.array([4, 7, 5, 3, 6])
    assert np.array_equal(np.ones(5), dealt(np.ones(5), even))
    assert 0 == saved(np.ones(5), np.ones(5), even)
    after = dealt(np.ones(5), np.array([60, 2, 1, 2, 3]))
    assert after[0] > 1.5 > 1 > after[1:].max()
    assert saved(np.ones(5), after, np.array([60, 2, 1, 2, 3])) > 10


@given(levels=st.lists(st.sampled_from(LEVELS.tolist()), min_size=2, max_size=20), gone=st.integers(0, 19))
def test_a_departure_takes_no_more_weight_than_it_leaves_lacking(levels: list[float], gone: int) -> None:
    """Whoever goes, the rest sum to their number at most, and nobody's weight grew."""
    before = np.array(levels)
    if before.sum() > len(before):
        before = dealt(np.ones(len(before)), np.round(10 * before).astype(int))
    rest = np.delete(before, gone % len(before))
    after = within(rest)
    assert after.sum() <= len(rest) * (1 + 1e-9)
    assert (after <= rest).all()
    if rest.sum() <= len(rest):
        assert np.array_equal(rest, after)


ZONES: dict[str, DriftZone] = {
    "slab": SlabZone(np.array([1.0, -0.5]), 0.3, 0.8, 1.5, 0.5, is_round=True),
    "factored": SlabZone(np.array([1.0, -0.5]), 0.3, 0.8, 1.25, 1.25, positive=1, factor=np.array([[1, 0.5], [0, 2]])),
    "shifted": ShiftedZone(Bent(CONVEX, 0.2, "convex", is_everywhere=True).zone(np.ones(2), np.inf), 0.6),
    "point": PointZone(),
}


@pytest.mark.parametrize("name", ZONES)
@given(seed=st.integers(0, 10_000), weight=st.sampled_from(LEVELS.tolist()))
def test_a_part_of_a_zone_is_the_zone_made_smaller_or_larger(name: str, seed: int, weight: float) -> None:
    """w u is in w Z where u is in Z, one by one and many at once."""
    zone = ZONES[name]
    drifts = np.random.default_rng(seed).normal(0, 0.3, (20, 2))
    drifts[0] = 0.0
    expected = zone.violations(drifts)
    part = zone.scaled(weight)
    assert expected.tolist() == part.violations(weight * drifts).tolist()
    assert expected.tolist() == [part.violation(weight * drift) or 0 for drift in drifts]


@pytest.mark.parametrize("function", [LINEAR, PRODUCT, CONVEX], ids=["linear", "quadratic", "convex"])
def test_a_restless_node_costs_less_than_with_equal_parts(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """One node in ten that walks twenty times as fast: three quarters of the messages at most, every round in bound."""
    data = restless(600, 10, 20)
    weighted = simulate(function, data, 0.1)
    monkeypatch.setattr(weights, "DOUBT", np.inf)
    equal = simulate(function, data, 0.1)
    assert 0 == weighted.bound_violations == equal.bound_violations
    assert weighted.messages < 0.75 * equal.messages


class Wired:
    """A coordinator and nodes that hear each other at once."""

    def __init__(self, data: np.ndarray, bound: float) -> None:
        self.coordinator = Coordinator(PRODUCT, data.shape[1], bound)
        self.nodes = {i: Node(i, PRODUCT) for i in range(data.shape[1])}
        for vectors in data:
            for i, x in enumerate(vectors):
                self.carry(self.nodes[i].update(x))

    def carry(self, envelopes: list[Envelope]) -> None:
        waiting = list(envelopes)
        while waiting:
            envelope = waiting.pop(0)
            receiver: Any = self.coordinator if envelope.to == COORDINATOR else self.nodes[envelope.to]
            waiting += receiver.receive(envelope.message)

    def lose(self, node: int) -> None:
        del self.nodes[node]
        self.carry(self.coordinator.lost(node))

    def parts(self) -> np.ndarray:
        """How large the zone of each node is, beside that of a node with weight 1."""
        told = {i: node.state.zone for i, node in self.nodes.items()}
        ones = self.coordinator.state["weights"]
        whole = next(zone.reach / ones[i] for i, zone in told.items())
        return np.array([zone.reach / whole for zone in told.values()])


def test_the_parts_that_nodes_hold_sum_to_the_whole_whoever_goes_and_comes() -> None:
    """Light nodes go, a new one comes: what the nodes hold never exceeds their number, and the answer stays good."""
    fleet = Wired(restless(400, 6, 20), 0.1)
    assert 1.5 < fleet.parts()[0]
    assert fleet.parts()[1:].max() < 1
    for gone in (3, 1, 5):
        fleet.lose(gone)
        assert fleet.parts().sum() <= len(fleet.nodes) * (1 + 1e-9)
    fleet.nodes[8] = Node(8, PRODUCT)
    fleet.carry(fleet.coordinator.join(8))
    fleet.carry(fleet.nodes[8].update(np.array([1.5, 0.5])))
    assert 1.0 == pytest.approx(fleet.parts()[-1])
    assert fleet.parts().sum() <= 4 * (1 + 1e-9)
    mean = np.mean([node.state.vector for node in fleet.nodes.values()], axis=0)
    answer = fleet.coordinator.answer
    assert (4, 0, True) == (answer.live, answer.stale, answer.is_quiescent)
    assert abs(PRODUCT.value(mean) - answer.value) <= answer.bound


def test_weights_survive_a_restart() -> None:
    """A coordinator that goes on from its state deals from the weights that it had."""
    fleet = Wired(restless(400, 6, 20), 0.1)
    before = fleet.coordinator.state["weights"]
    fleet.coordinator = Coordinator.from_state(fleet.coordinator.state, PRODUCT, 0.1)
    fleet.carry(fleet.coordinator.restart())
    assert before[0] > 1 < fleet.parts()[0]
    assert fleet.parts().sum() <= 6 * (1 + 1e-9)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_heavy_node_that_comes_back_alone_holds_no_more_than_the_whole(is_first: bool) -> None:
    """The light ones are given up after a restart, before or after the heavy one was heard."""
    fleet = Wired(restless(400, 6, 20), 0.1)
    assert fleet.parts()[0] > 1.5
    fleet.coordinator = Coordinator.from_state(fleet.coordinator.state, PRODUCT, 0.1)
    requests = {envelope.to: envelope for envelope in fleet.coordinator.restart()}
    if is_first:
        fleet.carry([requests[0]])
    for gone in range(1, 6):
        fleet.lose(gone)
    if not is_first:
        fleet.carry([requests[0]])
    assert 1 == fleet.coordinator.answer.live
    assert fleet.coordinator.answer.is_quiescent
    assert fleet.parts().sum() <= 1 + 1e-9
    assert fleet.coordinator.state["weights"][0] <= 1 + 1e-9


def test_a_fleet_of_arrays_answers_a_request_as_a_node_does() -> None:
    """Before its first vector nothing, without a zone its vector, with one a report; learnt ways are kept."""
    coordinator = OnewayCoordinator(PRODUCT, 1, 0.1, choose_certifier(PRODUCT, 0.1))
    fleet, node = OnewayFleet(PRODUCT, 1), Node(0, PRODUCT)
    assert [] == fleet.receive(0, Request(0)) == node.receive(Request(0))
    for x in restless(60, 1, 30):
        ours, theirs = fleet.update(x), node.update(x[0])
        for request in (False, True):
            if request:
                ours, theirs = fleet.receive(0, Request(0)), node.receive(Request(0))
            assert [type(each.message) for each in ours] == [type(each.message) for each in theirs]
            for one, other in zip(ours, theirs, strict=True):
                assert np.array_equal(one.message.vector, other.message.vector)  # type: ignore[union-attr]
                if isinstance(one.message, Report):
                    assert one.message.sequence == other.message.sequence  # type: ignore[union-attr]
            while ours:
                answers = coordinator.receive(*[each.message for each in ours])
                ours = [reply for each in answers for reply in fleet.receive(0, each.message)]
                assert len(ours) == len([reply for each in answers for reply in node.receive(each.message)])
