"""Lower bounds: right where all can be tried, and below every run that keeps its bound."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.automon.function import Function
from heflwr.automon.oracle import lower_bound_filter, lower_bound_info
from heflwr.automon.simulation import simulate

SADDLE_HESSIAN = np.diag([-2.0, 2.0])
SADDLE = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2, gradient=lambda x: SADDLE_HESSIAN @ x, hessian=SADDLE_HESSIAN)
PRODUCT_HESSIAN = np.array([[0.0, 1.0], [1.0, 0.0]])
PRODUCT = Function(lambda x: x[0] * x[1], 2, gradient=lambda x: x[::-1], hessian=PRODUCT_HESSIAN)
LINEAR = Function(lambda x: x[0] + 3 * x[1] + 1, 2, gradient=lambda x: np.array([1.0, 3.0]), hessian=np.zeros((2, 2)))
SINE = Function(lambda x: np.sin(x[0]), 1, gradient=np.cos, hessian=lambda x: -np.sin(x)[:, None])


def walk(rounds: int, nodes: int, dim: int, seed: int) -> np.ndarray:
    """A common slow drift, and noise of each node's own."""
    random = np.random.default_rng(seed)
    drift = np.cumsum(random.normal(0, 0.05, (rounds, 1, dim)), axis=0)
    return drift + random.normal(0, 0.1, (rounds, nodes, dim))


def fewest_windows(rounds: int, admits: Any) -> int:
    """How few windows [first, last] that `admits` cover all rounds: every way of cutting is tried."""
    fewest = [0]
    for end in range(1, rounds + 1):
        fewest.append(min(fewest[first] + 1 for first in range(end) if admits(first, end - 1)))
    return fewest[-1]


def all_mixtures(function: Function, data: np.ndarray, first: int, last: int) -> np.ndarray:
    """F of the means of all choices of one vector a node from the window."""
    nodes = data.shape[1]
    choices = product(range(first, last + 1), repeat=nodes)
    return np.array([function.value(data[list(choice), np.arange(nodes)].mean(axis=0)) for choice in choices])


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12), st.integers(1, 3))
def test_info_is_the_fewest_windows(heights: list[int], bound: int) -> None:
    """No way of cutting the rounds into windows of a range of two bounds takes fewer windows."""
    data = np.repeat(np.array(heights, dtype=float)[:, None, None], 3, axis=1)
    identity = Function(lambda x: x[0], 1, gradient=lambda x: np.ones(1), hessian=np.zeros((1, 1)))

    def admits(first: int, last: int) -> bool:
        return max(heights[first : last + 1]) - min(heights[first : last + 1]) <= 2 * bound

    assert 2 + fewest_windows(len(heights), admits) == lower_bound_info(identity, data, bound)


@pytest.mark.parametrize("function", [LINEAR, SADDLE, PRODUCT, SINE])
@given(seed=st.integers(0, 10_000), error_bound=st.sampled_from([0.02, 0.05, 0.1, 0.3]))
@settings(max_examples=15, deadline=None)
def test_filter_never_exceeds_what_all_mixtures_ask_for(function: Function, seed: int, error_bound: float) -> None:
    """With every mixture tried the count is the exact limit; the search stays at or below it, at it for linear f."""
    data = walk(7, 3, function.dim, seed)

    def admits(first: int, last: int) -> bool:
        return bool(np.ptp(all_mixtures(function, data, first, last)) <= 2 * error_bound)

    exact = 2 + fewest_windows(len(data), admits)
    found = lower_bound_filter(function, data, error_bound)
    assert lower_bound_info(function, data, error_bound) <= found <= exact
    if function.is_linear:
        assert exact == found


@pytest.mark.parametrize("function", [SADDLE, PRODUCT, SINE])
def test_the_search_seldom_misses(function: Function) -> None:
    """Over many small runs the windows that the search finds too wide are nearly all of them."""
    found = exact = 0
    for seed in range(20):
        data = walk(7, 3, function.dim, seed)

        def admits(first: int, last: int, data: np.ndarray = data) -> bool:
            return bool(np.ptp(all_mixtures(function, data, first, last)) <= 0.1)

        exact += fewest_windows(len(data), admits)
        found += lower_bound_filter(function, data, 0.05) - 2
    assert found >= 0.97 * exact > 0


def test_nodes_that_move_against_each_other_cost_filters_dearly() -> None:
    """The mean stands still, so one answer serves for ever; but no filter can know that the others make up for it."""
    swing = np.arange(10.0)
    data = np.stack([np.stack([swing, swing], axis=1), np.stack([-swing, -swing], axis=1)], axis=1)
    assert 2 == lower_bound_info(LINEAR, data, 0.5)
    assert 1 + 10 == lower_bound_filter(LINEAR, data, 0.5)


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("gm", {}),
        ("gm", {"sync": "eager", "slack": False}),
        ("gm", {"sync": "lazy-random"}),
        ("gm-ball", {}),
        ("centralization", {}),
        ("periodic", {"period": 2}),
        ("rlv", {}),
    ],
)
@given(seed=st.integers(0, 10_000), nodes=st.integers(1, 6), error_bound=st.sampled_from([0.02, 0.1, 0.5]))
@settings(max_examples=8, deadline=None)
def test_no_run_that_keeps_its_bound_is_below(
    protocol: str, options: dict[str, Any], seed: int, nodes: int, error_bound: float
) -> None:
    """LB_info is below whatever kept every round's error; LB_filter below what guarantees it."""
    data = walk(40, nodes, 2, seed)
    report = simulate(SADDLE, data, error_bound, protocol, seed=seed, **options)
    info, filters = lower_bound_info(SADDLE, data, error_bound), lower_bound_filter(SADDLE, data, error_bound)
    assert info <= filters
    if report.bound_violations == 0:
        assert info <= report.messages
    if report.guarantee.value != "heuristic":
        assert 0 == report.bound_violations
        assert filters <= report.messages


def test_still_data_need_the_first_reports_only() -> None:
    """Nothing moves: n reports, however tight the bound."""
    data = np.ones((20, 5, 2))
    assert 5 == lower_bound_info(SADDLE, data, 1e-6) == lower_bound_filter(SADDLE, data, 1e-6)


@pytest.mark.parametrize("bound", [lower_bound_info, lower_bound_filter])
def test_wrong_arguments_are_refused(bound: Any) -> None:
    """A bound of zero and data of another dimension."""
    with pytest.raises(ValueError, match="error_bound must be > 0 and finite, got 0"):
        bound(SADDLE, np.zeros((3, 2, 2)), 0)
    with pytest.raises(ValueError, match="data must have shape"):
        bound(SADDLE, np.zeros((3, 2, 1)), 0.1)
