"""Affine bounds: sound on any box, close on a small one, and the zones that are made of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.automon.affine_bounds import AffineBounds
from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.function import Function
from heflwr.automon.protocols.affine import Affine
from heflwr.automon.relaxations import CURVES, lines
from heflwr.automon.simulation import simulate
from heflwr.automon.zones.zone import ViolationKind

RANDOM = np.random.default_rng(5)
LAYERS = [(RANDOM.normal(size=(3, 6)), RANDOM.normal(size=6)), (RANDOM.normal(size=(6, 1)), RANDOM.normal(size=1))]


def network(x: Any, activation: Any) -> Any:
    (first, bias), (second, last) = LAYERS
    return (activation(x @ first + bias) @ second + last)[0]


FUNCTIONS = {
    "tanh network": lambda x: network(x, jnp.tanh),
    "relu network": lambda x: network(x, jax.nn.relu),
    "logistic network": lambda x: network(x, jax.nn.sigmoid),
    "sines": lambda x: jnp.sin(3 * x).sum() + jnp.cos(x[0] * x[1]),
    "cosine similarity": lambda x: (x[0] + 2 * x[1]) / jnp.sqrt(0.5 + jnp.dot(x, x)),
    "ratio": lambda x: (x[0] - x[1]) / (3 + x[2] + x[0]),
    "powers": lambda x: x[0] ** 3 - x[1] ** 4 + 2 * x[2] ** 5,
    "extremes": lambda x: jnp.maximum(x[0], x[1]) - jnp.minimum(x[2] ** 2, 0.3) + jnp.abs(x[0]),
    "dot of varying": lambda x: jnp.dot(x[:2], jnp.exp(x[1:])),
    "log": lambda x: jnp.log(4 + x[0]) * jnp.arctan(x[1]) + 1 / (2.5 + x[2]),
}


@cache
def function_of(name: str) -> Function:
    return Function(FUNCTIONS[name], 3)


@cache
def bounds_of(name: str) -> AffineBounds:
    return AffineBounds(function_of(name).program)


coordinates = st.floats(-1, 1, allow_subnormal=False)
points = st.lists(coordinates, min_size=3, max_size=3).map(np.array)
sizes = st.sampled_from([0.0, 1e-3, 0.05, 0.4, 1.0])


@pytest.mark.parametrize("name", CURVES)
@given(middle=st.floats(-4, 4), width=st.floats(0, 5))
def test_lines_enclose_their_curve(name: str, middle: float, width: float) -> None:
    """Between the ends of any interval no point of the curve is past its lines."""
    low, high = np.array([middle - width / 2]), np.array([middle + width / 2])
    curve = CURVES[name]
    (slope, offset), (slope_above, offset_above) = lines(curve, low, high)
    at = np.linspace(low, high, 301)
    with np.errstate(all="ignore"):
        values = curve.value(at)
        slack = 1e-9 * (1 + np.abs(values).max())
        if np.isfinite(values).all() and np.isfinite([slope, offset, slope_above, offset_above]).all():
            assert (slope * at + offset <= values + slack).all()
            assert (slope_above * at + offset_above >= values - slack).all()


@pytest.mark.parametrize("name", sorted(set(CURVES) - {"log", "log1p", "sqrt", "rsqrt", "reciprocal"}))
def test_lines_exist_on_every_interval(name: str) -> None:
    """A curve that is defined everywhere has finite lines everywhere, also around zero and on a single point."""
    low, high = np.array([-3.0, -1.0, 0.0, 0.5, 2.0]), np.array([-1.0, 2.0, 0.0, 0.9, 6.0])
    for slope, offset in lines(CURVES[name], low, high):
        assert np.isfinite([slope, offset]).all()


@pytest.mark.parametrize("name", FUNCTIONS)
@given(centre=points, size=sizes, shares=st.lists(points, min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_bounds_hold_on_the_whole_box(name: str, centre: np.ndarray, size: float, shares: list[np.ndarray]) -> None:
    """No point of the box has a value past the affine functions."""
    function, bounds = function_of(name), bounds_of(name).on(centre - size, centre + size)
    if bounds.is_finite:
        for share in shares:
            x = centre + size * share
            value = function.numpy(x)
            slack = 1e-9 * (1 + abs(value) + np.abs(bounds.above).sum() + np.abs(bounds.below).sum())
            assert bounds.below @ x + bounds.below_offset <= value + slack
            assert bounds.above @ x + bounds.above_offset >= value - slack


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bounds_close_in_on_small_boxes(name: str) -> None:
    """On a small box the gap at the middle is much smaller than the box."""
    centre = np.array([0.31, -0.27, 0.83])
    bounds = bounds_of(name).on(centre - 1e-4, centre + 1e-4)
    gap = (bounds.above - bounds.below) @ centre + bounds.above_offset - bounds.below_offset
    assert 0 <= gap + 1e-12 < 1e-5


def test_a_box_where_f_is_not_defined_has_no_bounds() -> None:
    """A logarithm of what may be negative is bounded by nothing."""
    bounds = AffineBounds(Function(lambda x: jnp.log(x[0]), 1).program)
    assert not bounds.on(np.array([-1.0]), np.array([1.0])).is_finite
    assert bounds.on(np.array([0.5]), np.array([1.0])).is_finite


@pytest.mark.parametrize("fn", [lambda x: jnp.sort(x)[0], lambda x: jnp.prod(x), lambda x: jax.lax.erf(x[0])])
def test_operations_without_bounds_are_named(fn: Any) -> None:
    """What cannot be bounded is refused, and said."""
    with pytest.raises(UnsupportedFunction, match="no affine bounds are known for"):
        AffineBounds(Function(fn, 3).program)


@pytest.mark.parametrize("name", ["tanh network", "relu network", "cosine similarity", "sines"])
@given(reference=points, others=st.lists(points, min_size=1, max_size=8), error_bound=st.sampled_from([0.02, 0.3]))
@settings(max_examples=20, deadline=None)
def test_a_zone_is_sound(name: str, reference: np.ndarray, others: list[np.ndarray], error_bound: float) -> None:
    """x0 is inside, every point inside has a value within the bound, and so has the mean of such points."""
    function = function_of(name)
    zone = Affine(function, error_bound).zone(reference, np.inf)
    assert zone.violation(reference) is None
    rows = np.array([reference + 3 * zone.radius * (one - reference) / 2 for one in others])
    kinds = zone.violations(rows)
    assert [zone.violation(row) or 0 for row in rows] == kinds.tolist()
    inside = rows[kinds == 0]
    for row in [*inside, *([inside.mean(axis=0)] if len(inside) else [])]:
        assert abs(function.numpy(row) - zone.value) <= error_bound + 1e-9


def test_a_zone_stays_in_domain_and_radius() -> None:
    """The box is cut by the domain, and no larger than the radius that was asked for."""
    function = Function(FUNCTIONS["tanh network"], 3, Box(np.full(3, -0.1), np.full(3, 0.1)))
    zone = Affine(function, 5.0).zone(np.zeros(3), np.inf)
    assert zone.box is not None
    assert function.domain == zone.box
    assert ViolationKind.NEIGHBOURHOOD is zone.violation(np.full(3, 0.2))
    assert Affine(function, 5.0).zone(np.zeros(3), 0.01).radius <= 0.01


def test_a_wide_bound_of_a_bounded_function_is_never_violated() -> None:
    """|sin| <= 1: with a bound of 2 one sync is enough for ever."""
    data = np.random.default_rng(1).normal(0, 50, (40, 3, 1))
    report = simulate(Function(lambda x: jnp.sin(x[0]), 1), data, 2.0, "gm")
    assert 3 == report.messages
    assert Guarantee.GUARANTEED is report.guarantee


@pytest.mark.parametrize("name", ["tanh network", "relu network"])
def test_networks_are_monitored_within_the_bound(name: str) -> None:
    """A run over drifting data keeps every round within the bound, and says that it must."""
    random = np.random.default_rng(2)
    drift = np.cumsum(random.normal(0, 0.01, (150, 1, 3)), axis=0)
    report = simulate(Function(FUNCTIONS[name], 3), drift + random.normal(0, 0.02, (150, 6, 3)), 0.2)
    assert Guarantee.GUARANTEED is report.guarantee
    assert 0 == report.bound_violations
    assert report.messages < report.centralization
