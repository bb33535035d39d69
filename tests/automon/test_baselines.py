"""What AutoMon is compared with: counts that can be told beforehand, and zones that keep what they promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.function import Function
from heflwr.automon.messages import Request, Vector
from heflwr.automon.protocols import Machines
from heflwr.automon.protocols.gm import Coordinator
from heflwr.automon.protocols.nearest import nearest_entropy, nearest_variance
from heflwr.automon.protocols.node import Node
from heflwr.automon.protocols.periodic import Coordinator as PeriodicCoordinator
from heflwr.automon.protocols.tailored import balls, convex_bound, entropy_zones, local_check, variance_zones
from heflwr.automon.simulation import simulate
from heflwr.automon.zones.ball import rise

SWAP = np.kron([[0.0, 1.0], [1.0, 0.0]], np.eye(2))
PRODUCT = Function(lambda x: x[:2] @ x[2:], 4, gradient=lambda x: SWAP @ x, hessian=SWAP)
SADDLE_HESSIAN = np.diag([-2.0, 2.0])
SADDLE = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2, gradient=lambda x: SADDLE_HESSIAN @ x, hessian=SADDLE_HESSIAN)
SINE = Function(lambda x: np.sin(x[0]), 1, gradient=np.cos, hessian=lambda x: -np.sin(x)[:, None])
BOWL = np.diag([-2.0, -2.0, 0.0])
VARIANCE = Function(
    lambda x: x[2] - x[:2] @ x[:2], 3, gradient=lambda x: np.array([-2 * x[0], -2 * x[1], 1.0]), hessian=BOWL
)
SMOOTHING = 0.01


def unused(x: np.ndarray) -> Any:
    """A derivative that no tailored zone asks for."""
    raise AssertionError(x)


def cosine(x: np.ndarray) -> float:
    """Cosine similarity of the halves."""
    return float(x[:2] @ x[2:] / (np.linalg.norm(x[:2]) * np.linalg.norm(x[2:])))


def entropy(x: np.ndarray) -> float:
    """Smoothed entropy."""
    return float(-((x + SMOOTHING) * np.log(x + SMOOTHING)).sum())


COSINE = Function(cosine, 4, gradient=unused, hessian=unused)
ENTROPY = Function(entropy, 5, Box(np.zeros(5), np.ones(5)), gradient=unused, hessian=unused)


def walk(rounds: int, nodes: int, dim: int, seed: int = 0) -> np.ndarray:
    """A common slow drift, and noise of each node's own."""
    random = np.random.default_rng(seed)
    drift = np.cumsum(random.normal(0, 0.05, (rounds, 1, dim)), axis=0)
    return drift + random.normal(0, 0.1, (rounds, nodes, dim))


def fleet_data(name: str, rounds: int, nodes: int, seed: int) -> np.ndarray:
    """Local vectors of the kind that a function of that name is of."""
    random = np.random.default_rng(seed)
    if name == "entropy":
        weights = np.exp(walk(rounds, nodes, 5, seed))
        return weights / weights.sum(axis=2, keepdims=True)
    if name == "variance":
        means = walk(rounds, nodes, 2, seed)
        return np.concatenate([means, (means**2).sum(axis=2, keepdims=True)], axis=2)
    if name == "cosine":
        return random.normal(0, 1, 4) + walk(rounds, nodes, 4, seed)
    return walk(rounds, nodes, 2 if name == "saddle" else 4, seed)


TAILORED = {
    "product": (PRODUCT, "cb", convex_bound, {}),
    "cosine": (COSINE, "cb", convex_bound, {}),
    "variance": (VARIANCE, "variance", variance_zones, {}),
    "entropy": (ENTROPY, "entropy", entropy_zones, {"smoothing": SMOOTHING}),
    "saddle": (SADDLE, "gm-ball", balls, {}),
}


def test_centralization_sends_everything_and_errs_nowhere() -> None:
    """A message a node and round, the first round included."""
    data = walk(30, 4, 2)
    report = simulate(SADDLE, data, 0.1, "centralization")
    assert 30 * 4 == report.messages == report.messages_by_kind["vector"] == report.centralization
    assert report.max_error <= 1e-12
    assert Guarantee.EXACT is report.guarantee
    assert [4.0] * 30 == report.messages_by_round.tolist()


@given(rounds=st.integers(1, 30), period=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_periodic_reports_by_the_clock(rounds: int, period: int) -> None:
    """Every period-th round from the first on all nodes report, and the answer is that of the last such round."""
    data = walk(rounds, 3, 2)
    report = simulate(SADDLE, data, 0.1, "periodic", period=period)
    assert 3 * len(range(0, rounds, period)) == report.messages
    assert np.array_equal(report.true_values[np.arange(rounds) // period * period], report.estimates)


def test_periodic_promises_nothing() -> None:
    """Between reports nothing is known, and the report says so; a period below one is refused."""
    report = simulate(SADDLE, walk(30, 4, 2), 0.001, "periodic", period=5)
    assert Guarantee.HEURISTIC is report.guarantee
    assert "5 rounds later" in report.reason
    assert report.bound_violations > 0
    with pytest.raises(ValueError, match="period must be >= 1, got 0"):
        simulate(SADDLE, walk(3, 2, 2), 0.1, "periodic", period=0)


def test_periodic_counts_who_is_there() -> None:
    """Only the live nodes' last reports make the answer; nonsense is refused and counted."""
    coordinator = PeriodicCoordinator(SADDLE, 2, 0.1)
    assert np.isnan(coordinator.answer.value)
    coordinator.receive(Vector(0, 0, np.array([0.0, 1.0])), Vector(1, 0, np.array([0.0, 3.0])))
    assert (4.0, True) == (coordinator.answer.value, coordinator.answer.is_quiescent)
    coordinator.lost(1)
    assert (1.0, 1, 1) == (coordinator.answer.value, coordinator.answer.live, coordinator.answer.lost)
    coordinator.join(1)
    assert (1.0, 2, 1, 0) == (
        coordinator.answer.value,
        coordinator.answer.live,
        coordinator.answer.stale,
        coordinator.answer.lost,
    )
    coordinator.receive(Vector(0, 0, np.array([np.nan, 1.0])), Vector(0, 0, np.zeros(3)), Request(0))
    assert (1.0, 3) == (coordinator.answer.value, coordinator.refused)


@pytest.mark.parametrize(("function", "error_bound"), [(SADDLE, 0.05), (SADDLE, 0.3), (SINE, 0.2)])
def test_a_local_check_is_what_it_says(function: Function, error_bound: float) -> None:
    """Whenever f of any node's own vector is off f of the mean at the last sync, all report and all are told."""
    data = walk(80, 4, function.dim)
    own = np.array([[function.value(x) for x in vectors] for vectors in data])
    truth = function.values(data.mean(axis=1))
    center, messages, estimates = truth[0], 4, [truth[0]]
    for round_, values in enumerate(own[1:], 1):
        violations = int((np.abs(values - center) > error_bound).sum())
        if violations:
            center = truth[round_]
            messages += violations + 2 * (4 - violations) + 4
        estimates.append(center)
    report = simulate(function, data, error_bound, "rlv")
    assert messages == report.messages
    assert np.allclose(estimates, report.estimates, rtol=0, atol=1e-12)
    assert Guarantee.HEURISTIC is report.guarantee


def test_a_local_check_misses_what_only_the_mean_shows() -> None:
    """Two nodes wander off where f does not change, and f of their mean does: the bound is broken in silence."""
    way = np.linspace(0, 1, 20)
    data = np.stack([np.stack([way, way], axis=1), np.stack([-way, way], axis=1)], axis=1)
    report = simulate(SADDLE, data, 0.1, "rlv")
    assert 2 == report.messages
    assert report.bound_violations > 5


@given(seed=st.integers(0, 10_000), nodes=st.integers(1, 6), error_bound=st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=20, deadline=None)
def test_the_convex_bound_of_an_inner_product_is_that_of_adcd(seed: int, nodes: int, error_bound: float) -> None:
    """The same messages as AutoMon's, in fewer bytes: no matrix is sent."""
    data = walk(60, nodes, 4, seed)
    tailored, automatic = (simulate(PRODUCT, data, error_bound, protocol) for protocol in ("cb", "gm"))
    assert dict(automatic.messages_by_kind) == dict(tailored.messages_by_kind)
    assert np.array_equal(automatic.estimates, tailored.estimates)
    assert tailored.payload_bytes < automatic.payload_bytes


@pytest.mark.parametrize("name", TAILORED)
@given(seed=st.integers(0, 10_000), nodes=st.integers(1, 6), error_bound=st.sampled_from([0.02, 0.1, 0.4]))
@settings(max_examples=10, deadline=None)
def test_tailored_zones_keep_the_bound(name: str, seed: int, nodes: int, error_bound: float) -> None:
    """No round ends with an error past the bound, and the report calls it guaranteed."""
    function, protocol, _, options = TAILORED[name]
    report = simulate(function, fleet_data(name, 50, nodes, seed), error_bound, protocol, seed=seed, **options)
    assert report.max_error <= error_bound + 1e-9
    assert Guarantee.GUARANTEED is report.guarantee


@pytest.mark.parametrize("name", TAILORED)
@given(seed=st.integers(0, 10_000), error_bound=st.sampled_from([0.02, 0.1, 0.4, 2.5]))
@settings(max_examples=25, deadline=None)
def test_tailored_zones_are_convex_parts_of_the_admissible_region(name: str, seed: int, error_bound: float) -> None:
    """x0 is inside; and whatever mixture of inside points is made, f is between the thresholds there."""
    function, _, derive, options = TAILORED[name]
    random = np.random.default_rng(seed)
    reference = fleet_data(name, 1, 1, seed)[0, 0]
    zone = derive(function, error_bound, **options).zone(reference, np.inf)
    scales = random.choice([0.01, 0.1, 0.5, 2.0], (200, 1))
    points = reference + scales * random.normal(0, 1, (200, function.dim))
    points = points if function.domain is None else function.domain.clip(points)
    values = function.values(points)
    kinds = zone.violations(points, values)
    assert [zone.violation(x) or 0 for x in points] == kinds.tolist()
    assert zone.violation(reference) is None
    inside = np.concatenate([points[kinds == 0], reference[None]])
    for _ in range(50):
        mixture = random.dirichlet(np.full(len(inside), 0.1)) @ inside
        assert abs(function.value(mixture) - zone.value) <= error_bound + 1e-9


@pytest.mark.parametrize("name", TAILORED)
def test_tailored_zones_are_of_use(name: str) -> None:
    """Points near x0 are inside: with a wide bound calm data cost less than centralization."""
    function, protocol, _, options = TAILORED[name]
    data = fleet_data(name, 200, 5, 1)[100:101] + 0.01 * (fleet_data(name, 200, 5, 2) - fleet_data(name, 200, 5, 2)[:1])
    data = data if function.domain is None else function.domain.clip(data)
    report = simulate(function, data, 0.2, protocol, **options)
    assert report.messages < 0.5 * report.centralization


@pytest.mark.parametrize("name", [*TAILORED, "local"])
def test_arrays_of_nodes_equal_single_ones(name: str) -> None:
    """The vectorised fleet sends what one object a node sends."""
    function, protocol, derive, options = TAILORED.get(name, (SADDLE, "rlv", local_check, {}))
    data = fleet_data("saddle" if name == "local" else name, 60, 4, 3)
    sync: dict[str, Any] = {"sync": "eager", "slack": False}

    def one_object_a_node(function: Function, nodes: int, error_bound: float, *, tuning_data: Any, seed: int) -> Any:
        coordinator = Coordinator(
            function, nodes, error_bound, derivation=derive(function, error_bound, **options), seed=seed, **sync
        )
        return coordinator, Machines([Node(index, function) for index in range(nodes)])

    slow = simulate(function, data, 0.1, one_object_a_node)
    fast = simulate(function, data, 0.1, protocol, **options, **sync)
    assert dict(slow.messages_by_kind) == dict(fast.messages_by_kind)
    assert np.array_equal(slow.estimates, fast.estimates)


@given(seed=st.integers(0, 10_000), rises=st.floats(0.01, 3.0))
def test_the_nearest_point_of_the_variance_is_nearest(seed: int, rises: float) -> None:
    """It is where the variance has risen so far, and no nearer point has."""
    random = np.random.default_rng(seed)
    reference = np.append(random.normal(0, 1, 2), random.uniform(0, 4))
    nearest = nearest_variance(reference, rises)
    start = reference[2] - reference[:2] @ reference[:2]
    assert np.isclose(start + rises, nearest[2] - nearest[:2] @ nearest[:2], rtol=1e-9, atol=1e-9)
    means = nearest[:2] + random.normal(0, 0.3, (500, 2))
    others = np.column_stack([means, start + rises + (means**2).sum(axis=1)])
    assert np.linalg.norm(nearest - reference) <= np.linalg.norm(others - reference, axis=1).min() + 1e-9


@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95))
@settings(deadline=None)
def test_the_nearest_point_of_the_entropy_is_nearest(seed: int, share: float) -> None:
    """It has the threshold's entropy and x0's sum, and its gradient points from x0 to it within that sum."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(6)) + 1e-3
    now, most = -(shares * np.log(shares)).sum(), shares.sum() * np.log(6 / shares.sum())
    threshold = now + share * (most - now)
    nearest = nearest_entropy(shares, float(threshold))
    assert np.isclose(shares.sum(), nearest.sum())
    assert np.isclose(threshold, -(nearest * np.log(nearest)).sum(), rtol=1e-7)
    step, slope = nearest - shares, -np.log(nearest)
    slope = slope - slope.mean()
    assert np.isclose(np.linalg.norm(step) * np.linalg.norm(slope), step @ slope, rtol=1e-4)


def test_an_entropy_that_cannot_be_reached() -> None:
    """Past the greatest entropy of that sum, the point of it is given."""
    assert np.allclose(np.full(4, 0.25), nearest_entropy(np.array([0.7, 0.1, 0.1, 0.1]), 5.0))


@given(seed=st.integers(0, 10_000), radius=st.floats(0.0, 3.0))
@settings(deadline=None)
def test_the_rise_over_a_ball_is_attained(seed: int, radius: float) -> None:
    """No point of the ball is higher than the dual says, and some point comes near it."""
    random = np.random.default_rng(seed)
    slope, curvatures = random.normal(0, 1, 2) * random.integers(0, 2, 2), random.normal(0, 1, 2)
    angles, sizes = np.meshgrid(np.linspace(0, 2 * np.pi, 721), np.linspace(0, radius, 101))
    points = np.stack([(sizes * np.cos(angles)).ravel(), (sizes * np.sin(angles)).ravel()], axis=1)
    highest = (points @ slope + 0.5 * (points**2) @ curvatures).max()
    found = rise(slope, curvatures, radius)
    assert highest - 1e-9 <= found <= highest + 1e-2 * max(radius, radius**2)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_a_ball_reaches_from_the_reference_point_to_the_node(seed: int) -> None:
    """A point is inside exactly where f keeps its thresholds all over the ball with the segment to x0 as diameter."""
    random = np.random.default_rng(seed)
    reference, points = random.normal(0, 1, 2), random.normal(0, 1, (40, 2))
    zone = balls(SADDLE, 0.5).zone(reference, np.inf)
    angles, sizes = np.meshgrid(np.linspace(0, 2 * np.pi, 361), np.linspace(0, 1, 41))
    disc = np.stack([(sizes * np.cos(angles)).ravel(), (sizes * np.sin(angles)).ravel()], axis=1)
    for x in points:
        ball = 0.5 * (reference + x) + 0.5 * np.linalg.norm(x - reference) * disc
        furthest = np.abs(ball[:, 1] ** 2 - ball[:, 0] ** 2 - zone.value).max()
        if abs(furthest - 0.5) > 0.02:  # the grid tells no finer
            assert (furthest <= 0.5) == (zone.violation(x) is None)


def test_balls_around_a_sine_are_searched() -> None:
    """Without a constant Hessian the extremes over the balls are looked for: right here, but only a heuristic."""
    report = simulate(SINE, walk(60, 4, 1), 0.2, "gm-ball")
    assert Guarantee.HEURISTIC is report.guarantee
    assert report.max_error <= 0.2
    zone = balls(SINE, 0.5).zone(np.array([1.2]), np.inf)
    ends = np.linspace(-4, 6, 201)
    expected = [bool((np.abs(np.sin(np.linspace(1.2, end, 2001)) - np.sin(1.2)) <= 0.5).all()) for end in ends.tolist()]
    assert expected == [zone.violation(np.array([end])) is None for end in ends]


@pytest.mark.parametrize(
    ("protocol", "function", "options", "match"),
    [
        ("cb", SADDLE, {}, "differs from both"),
        ("cb", VARIANCE, {}, "differs from both"),
        ("variance", PRODUCT, {}, "differs from it"),
        ("entropy", PRODUCT, {}, "differs from it"),
        ("entropy", ENTROPY, {}, "give its smoothing="),
        ("entropy", ENTROPY, {"smoothing": -1.0}, "smoothing must be >= 0"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(
    protocol: str, function: Function, options: dict[str, Any], match: str
) -> None:
    """At the door, with the protocols that would do."""
    with pytest.raises(ValueError, match=match):
        simulate(function, np.zeros((3, 2, function.dim)), 0.1, protocol, **options)
    with pytest.raises(ValueError, match="error_bound must be > 0"):
        simulate(SADDLE, np.zeros((3, 2, 2)), 0.0, "rlv")
