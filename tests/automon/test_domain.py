"""Vectors outside of where f is defined are nobody's: the node says so to its caller, the coordinator to no one."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heflwr.automon import Box, Coordinator, Function, Node
from heflwr.automon.messages import COORDINATOR, Constraint, Message, Report, Vector, Violation, ViolationKind, version
from heflwr.automon.zones.slab import SlabZone

DOMAIN = Box(np.array([0.0, -np.inf]), np.array([1.0, 2.0]))
PRODUCT = Function(
    lambda x: x[0] * x[1], 2, DOMAIN, gradient=lambda x: x[::-1], hessian=np.array([[0.0, 1.0], [1.0, 0.0]])
)
BOUND = 0.1
SAFE_ZONE = ViolationKind.SAFE_ZONE


@pytest.mark.parametrize(
    ("x", "match"),
    [
        ([1.5, 0.0], r"domain, got 1\.5 at coordinate 0, which has to be within \[0\.0, 1\.0\]"),
        ([-1e-300, 0.0], r"domain, got -1e-300 at coordinate 0"),
        ([1.0, 3.0], r"domain, got 3\.0 at coordinate 1, which has to be within \[-inf, 2\.0\]"),
        ([0.5, -np.inf], "must be finite"),
        ([np.nan, 0.0], "must be finite"),
        ([0.5], r"shape \(2,\)"),
    ],
)
@pytest.mark.parametrize("zone", [None, SlabZone(np.ones(2), 9.0, 9.0, is_round=True)])
def test_a_node_refuses_a_vector_outside_the_domain(x: list[float], match: str, zone: SlabZone | None) -> None:
    """Whatever it holds: the coordinate, the value and the bounds are named, and the node stays as it was."""
    node = Node(0, PRODUCT)
    if zone is not None:
        node.update(np.full(2, 0.5))
        assert [] == node.receive(Constraint(version(1), zone, np.full(2, 0.5)))
    before = vars(node.state)
    with pytest.raises(ValueError, match=match):
        node.update(np.array(x))
    assert before == vars(node.state)


def test_the_border_belongs_to_the_domain() -> None:
    """A domain is closed, and may have no end to a side."""
    node = Node(0, PRODUCT)
    for x in ([0.0, 2.0], [1.0, -1e300]):
        assert 1 == len(node.update(np.array(x)))


def begun(protocol: Any) -> Coordinator:
    """A coordinator of two nodes after its first zone."""
    coordinator = Coordinator(PRODUCT, 2, BOUND, protocol)
    for index in range(2):
        coordinator.receive(*[each.message for each in Node(index, PRODUCT).update(np.full(2, 0.5))])
    assert 1 == coordinator.full_syncs
    return coordinator


@pytest.mark.parametrize("protocol", ["gm", "oneway"])
@pytest.mark.parametrize("x", [[1.5, 0.5], [0.5, np.nextafter(2.0, 3.0)], [np.nan, 0.0], [0.5, -np.inf], [0.5]])
def test_a_coordinator_refuses_a_vector_outside_the_domain(protocol: str, x: list[float]) -> None:
    """It is counted, nobody is answered, and nothing else has changed, whatever kind of message it came in."""
    coordinator = begun(protocol)
    before = copy.deepcopy(coordinator.state)
    now, vector = coordinator.answer.as_of, np.array(x)
    forged: list[Message] = [
        Violation(0, now, SAFE_ZONE, vector),
        Violation(0, 0, SAFE_ZONE, vector),
        Vector(1, now, vector),
        Report(0, now, 1, 2, SAFE_ZONE, vector),
    ]
    for count, message in enumerate(forged, 1):
        assert [] == coordinator.receive(message)
        assert count == coordinator.refused
    after = coordinator.state
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before if name != "counts")


inside = st.tuples(st.floats(0, 1), st.floats(-3, 2)).map(np.array)


@pytest.mark.parametrize("protocol", ["gm", "oneway"])
@given(rounds=st.lists(st.tuples(inside, inside), min_size=2, max_size=12))
def test_nothing_that_our_nodes_send_is_refused(protocol: Any, rounds: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Anchors ahead of a vector, too, are inside the domain: nothing is lost at its border, and the bound holds."""
    coordinator = Coordinator(PRODUCT, 2, BOUND, protocol)
    nodes = [Node(index, PRODUCT) for index in range(2)]
    for vectors in rounds:
        inbox = [each.message for node, x in zip(nodes, vectors, strict=True) for each in node.update(x)]
        while inbox:
            outbox = coordinator.receive(*inbox)
            assert COORDINATOR not in [each.to for each in outbox]
            inbox = [reply.message for each in outbox for reply in nodes[each.to].receive(each.message)]
        assert 0 == coordinator.refused
        assert abs(PRODUCT.value(np.mean(vectors, axis=0)) - coordinator.answer.value) <= BOUND + 1e-9
