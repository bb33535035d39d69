"""Extreme eigenvalues over a box: against closed forms, grids and brute force; and what their status says."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heflwr.automon.box import Box
from heflwr.automon.curvature import Status, extremes
from heflwr.automon.function import Function
from heflwr.automon.spectrum import DENSE_DIM

WAVES = Function(lambda x: jnp.sin(x[0]), 1)
RIPPLES = Function(lambda x: jnp.sin(9 * x[0]) * x[0], 1)
HILLS = Function(lambda x: jnp.cos(5 * x[0]) * jnp.exp(-(x[1] ** 2)) + x[0] * x[1] ** 3, 2)
LANDSCAPES = {"waves": WAVES, "ripples": RIPPLES, "hills": HILLS}


def kl(x: Any) -> Any:
    p, q = jnp.split(x + 1 / 2400, 2)
    return jnp.sum(p * jnp.log(p / q))


def network(dim: int, seed: int) -> Callable[[Any], Any]:
    """A net of three layers of tanh with random weights, as strongly bent as a trained one."""
    rng = np.random.default_rng(seed)
    sizes = [dim, 20, 10, 1]
    weights = [rng.normal(size=pair) / np.sqrt(pair[0]) for pair in pairwise(sizes)]

    def fn(x: Any) -> Any:
        for layer in weights:
            x = jnp.tanh(x @ layer)
        return x[0]

    return fn


def brute_force(function: Function, box: Box, points: int) -> tuple[float, float]:
    """Return the extremes over random points, a half of them on the border."""
    rng = np.random.default_rng(7)
    unit = rng.random((points, box.dim))
    unit[::2] = np.round(unit[::2])
    spectra = np.linalg.eigvalsh(function.hessians(box.lower + unit * (box.upper - box.lower)))
    return float(spectra.min()), float(spectra.max())


@pytest.mark.parametrize("name", LANDSCAPES)
def test_on_a_plane_the_search_finds_what_a_grid_finds(name: str) -> None:
    """In one and two dimensions the extremes are those of a fine grid, or further out, in each of sixty boxes."""
    function, rng = LANDSCAPES[name], np.random.default_rng(0)
    for seed in range(60):
        box = Box.around(rng.uniform(-2, 2, function.dim), rng.uniform(0.01, 1.5))
        axes = [np.linspace(low, high, 61) for low, high in zip(box.lower, box.upper, strict=True)]
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes)], axis=1)
        spectra = np.linalg.eigvalsh(function.hessians(grid))
        found = extremes(function, box, seed=seed)
        slack = 1e-4 * np.abs(spectra).max()
        assert found.lowest <= spectra.min() + slack, box
        assert found.highest >= spectra.max() - slack, box


@pytest.mark.parametrize("radius", [0.05, 0.4])
def test_a_network_is_searched_beyond_brute_force(radius: float) -> None:
    """On a network of 40 inputs no random point is more extreme than what two hundred times fewer climbs reach."""
    function, box = Function(network(40, 0), 40), Box.around(np.full(40, 0.1), radius)
    low, high = brute_force(function, box, 1000)
    found = extremes(function, box)
    assert found.lowest <= low
    assert found.highest >= high


def test_the_divergence_bends_most_in_a_corner_and_is_convex() -> None:
    """KL has a closed form: pair by pair an eigenvalue 0, and 1/p + p/q^2, largest where q is least and p greatest."""
    rng = np.random.default_rng(0)
    box = Box.around(rng.dirichlet(np.ones(20), 2).ravel(), 0.05).intersect(Box(np.zeros(40), np.ones(40)))
    p, q = np.array([box.lower, box.upper])[:, :20] + 1 / 2400, np.array([box.lower, box.upper])[:, 20:] + 1 / 2400
    true = max((1 / p[i] + p[i] / q[j] ** 2).max() for i in (0, 1) for j in (0, 1))
    found = extremes(Function(kl, 40), box)
    assert true == pytest.approx(found.highest, rel=1e-9)
    assert abs(found.lowest) <= 1e-9 * true
    assert found.status is Status.CONVERGED


def test_many_dimensions_are_searched_by_products() -> None:
    """Above the dense limit the extremes are the same ones: of KL by its closed form, of waves by theirs."""
    dim = 2 * DENSE_DIM
    box = Box(np.full(dim, 0.25), np.full(dim, 0.5))
    found = extremes(Function(kl, dim), box)
    low, high = 0.25 + 1 / 2400, 0.5 + 1 / 2400
    assert max(1 / p + p / low**2 for p in (low, high)) == pytest.approx(found.highest, rel=1e-9)
    waves = Function(lambda x: jnp.sum(jnp.cos(x * jnp.linspace(1, 3, dim))), dim)
    found = extremes(waves, Box.around(np.zeros(dim), np.pi))
    assert (found.lowest, found.highest) == pytest.approx((-9.0, 9.0), rel=1e-6)


def test_every_extreme_is_reached_at_its_point() -> None:
    """The points are in the box, and the Hessian there has these eigenvalues."""
    box = Box.around([0.3, -0.2], 1.0)
    found = extremes(HILLS, box)
    assert box.contains(found.lowest_at)
    assert box.contains(found.highest_at)
    assert found.lowest == np.linalg.eigvalsh(HILLS.hessian(found.lowest_at))[0]
    assert found.highest == np.linalg.eigvalsh(HILLS.hessian(found.highest_at))[-1]


def test_the_same_seed_gives_the_same_extremes() -> None:
    """Two coordinators with one seed agree to the bit."""
    function, box = Function(network(40, 1), 40), Box.around(np.zeros(40), 1.0)
    one, other = extremes(function, box, seed=3), extremes(function, box, seed=3)
    assert (one.lowest, one.highest) == (other.lowest, other.highest)


def test_a_constant_hessian_needs_no_search_and_no_bounds() -> None:
    """Its eigenvalues are exact on a box without bounds too."""
    saddle = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2)
    found = extremes(saddle, Box([-np.inf, 3.0], [np.inf, np.inf]))
    assert (found.lowest, found.highest, found.status) == (-2.0, 2.0, Status.EXACT)


def test_a_point_is_a_box() -> None:
    """A radius of zero gives the spectrum at the point."""
    found = extremes(WAVES, Box.around([0.5], 0.0))
    assert found.lowest == found.highest == pytest.approx(-np.sin(0.5))


def test_given_derivatives_are_searched_too() -> None:
    """Without third derivatives, by differences."""
    function = Function(
        lambda x: np.sin(x[0]), 1, gradient=lambda x: [np.cos(x[0])], hessian=lambda x: [[-np.sin(x[0])]]
    )
    found = extremes(function, Box([0.0], [2.0]))
    assert (found.lowest, found.highest) == pytest.approx((-1.0, 0.0), abs=1e-6)


def test_kinks_are_told() -> None:
    """|x0| - |x1| has a Hessian of zeros, which are not believed."""
    found = extremes(Function(lambda x: jnp.abs(x[0]) - jnp.abs(x[1]), 2), Box([-1.0, -1.0], [1.0, 1.0]))
    assert (found.lowest, found.highest, found.status) == (0.0, 0.0, Status.KINKED)
    net = extremes(Function(lambda x: jnp.sum(jax.nn.relu(x) ** 3), 2), Box([-1.0, -1.0], [1.0, 1.0]))
    assert net.highest == pytest.approx(6.0)
    assert net.status is Status.KINKED


def test_where_the_hessian_is_no_number_the_rest_is_searched() -> None:
    """log of a negative number is NaN: the extremes are those of the positive half, and the status says so."""
    found = extremes(Function(lambda x: jnp.log(x[0]) * x[1], 2), Box([-1.0, 0.0], [1.0, 1.0]))
    assert found.status is Status.PARTLY_FINITE
    assert np.isfinite([found.lowest, found.highest]).all()


def test_a_hessian_that_is_nowhere_a_number_has_no_extremes() -> None:
    """NaN stays NaN, and never becomes an infinity."""
    found = extremes(Function(lambda x: jnp.log(x[0]) * x[1], 2), Box([-2.0, 0.0], [-1.0, 1.0]))
    assert found.status is Status.NOT_FINITE
    assert np.isnan([found.lowest, found.highest]).all()


def test_an_unbounded_or_unlike_box_is_refused() -> None:
    """Unless the Hessian is constant, the box has bounds; and it always has the function's dim."""
    with pytest.raises(ValueError, match="must be bounded"):
        extremes(WAVES, Box([0.0], [np.inf]))
    with pytest.raises(ValueError, match="must have 1 coordinates"):
        extremes(WAVES, Box([0.0, 0.0], [1.0, 1.0]))


def test_every_status_is_a_sentence() -> None:
    """It can be shown as it is."""
    assert all(status.value[0].isupper() and status.value.endswith(".") for status in Status)
