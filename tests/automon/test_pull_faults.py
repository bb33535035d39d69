"""The pull protocol where courses are rare: nodes that come back, vectors at the border of a domain and beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from heflwr.automon import Box, Function, fleet
from heflwr.automon.protocols.pull import Memory, PullCoordinator, Reply, step
from heflwr.automon.zones.zone import Floats


def fourth_power(upper: float) -> Function:
    """Convex where it is defined, [0, upper]."""
    return Function(
        lambda x: x[0] ** 4,
        1,
        Box(np.zeros(1), np.full(1, upper)),
        gradient=lambda x: 4 * x**3,
        hessian=lambda x: np.array([12 * x**2]),
        shape="convex",
    )


def reported(session: int, calls: int, *values: float) -> Reply:
    return Reply(session, calls, calls, 0, np.array(values), is_exact=True)


def test_a_node_that_comes_back_gets_the_share_that_is_counted() -> None:
    """Its share was dealt while it was here, and it had not got that zone before it was lost."""
    measure = fleet.mean("cpu_usage", bound=2.0)
    coordinator, random = PullCoordinator(measure.function, 2.0, span=measure.span), np.random.default_rng(0)
    memories, truth = {node: Memory(node + 1) for node in range(4)}, dict[int, Floats]()

    def call(node: int, cpu: float) -> Reply:
        truth[node] = np.array([cpu])
        memories[node], reply = step(memories[node], coordinator.ask(node), truth[node])
        coordinator.receive(node, reply)
        return reply

    for number in range(60):  # node 0 is calm, and gets less
        for node in range(4):
            call(node, 50 + random.normal(0, 2) * (node > 0))
        coordinator.settle(number)
    made = coordinator.zones_made
    while coordinator.zones_made == made:
        for node in (1, 2, 3):
            call(node, float(random.uniform(10, 90)))
        coordinator.settle(60)
    coordinator.lost(0)
    call(0, 50.0)
    zone = memories[0].zone
    assert zone is not None
    assert call(0, 50 + 0.999 * float((zone.depths / np.abs(zone.rows[:, 0])).min())).vector is None
    for node in (1, 2, 3):
        assert call(node, 90.0 - call(node, 50.0).calls % 2).vector is not None
    answer = coordinator.settle(61)
    assert answer.live == 4
    assert abs(answer.value - np.mean(list(truth.values()))) <= answer.bound * (1 + 1e-9)


def test_a_vector_outside_the_domain_is_refused_and_the_others_go_on() -> None:
    """No proof is about it, and no answer breaks on it."""
    coordinator = PullCoordinator(fourth_power(4.0), 5.0)
    for node, x in enumerate([1.0, 2.0, 30.0]):
        coordinator.receive(node, reported(node + 1, 1, x))
    answer = coordinator.settle(0)
    assert (coordinator.refused, answer.live, answer.value, answer.bound) == (1, 2, 1.5**4, 0.0)


def test_a_node_that_nobody_knows_is_within_the_domain() -> None:
    """Whatever the span says."""
    coordinator = PullCoordinator(fourth_power(4.0), 5.0, span=Box(np.full(1, -100.0), np.full(1, 100.0)))
    for node in range(2):
        coordinator.receive(node, reported(node + 1, 1, 1.0))
    coordinator.unanswered(0)
    answer = coordinator.settle(0)
    assert answer.value - answer.bound <= 0.5**4
    assert 2.5**4 <= answer.value + answer.bound < 100


def test_a_mean_at_the_border_of_the_domain_is_inside() -> None:
    """The mean of three times 0.1 is more than 0.1, by rounding."""
    coordinator = PullCoordinator(fourth_power(0.1), 5.0)
    for node in range(3):
        coordinator.receive(node, reported(node + 1, 1, 0.1))
    assert coordinator.settle(0).value == pytest.approx(1e-4)


def test_a_span_that_misses_the_domain_is_told_at_the_door() -> None:
    """There would be no vector that both allow."""
    with pytest.raises(ValueError, match="do not meet"):
        PullCoordinator(fourth_power(4.0), 5.0, span=Box(np.full(1, 5.0), np.full(1, 6.0)))


def test_a_smooth_maximum_with_a_bound_of_many_temperatures_is_watched() -> None:
    """The end of its interval is beyond what a float64 holds."""
    measure = fleet.smooth_max("cpu_usage", temperature=0.1, bound=90.0)
    coordinator = PullCoordinator(measure.function, 90.0, span=measure.span)
    for node in range(2):
        coordinator.receive(node, reported(node + 1, 1, *measure.vector({"cpu_usage": 99.0 + node})))
    assert coordinator.settle(0).bound == 0.0
    assert coordinator.ask(0).zone is not None


def test_vectors_beyond_all_measure_leave_a_wide_answer() -> None:
    """Their mean is infinite, and a search has no box to look at; the next answer is sound again."""
    wave = Function(
        lambda x: float(np.sin(x[0])),
        1,
        gradient=np.cos,
        hessian=lambda x: -np.sin(x).reshape(1, 1),
    )
    coordinator = PullCoordinator(wave, 0.5)
    with np.errstate(all="ignore"):
        for node in range(2):
            coordinator.receive(node, reported(node + 1, 1, 1.7e308))
        assert coordinator.settle(0).bound == np.inf
    for node in range(2):
        coordinator.receive(node, reported(node + 1, 2, 0.5))
    answer = coordinator.settle(1)
    assert (answer.value, answer.bound) == (pytest.approx(np.sin(0.5)), 0.0)


def test_what_is_no_function_is_told_at_the_door() -> None:
    """With the way out."""
    with pytest.raises(TypeError, match="write Function"):
        PullCoordinator(np.sin, 0.5)  # type: ignore[arg-type]
