"""What jaxprs prove about how functions bend, held against the functions themselves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.automon.box import Box
from heflwr.automon.function import Function

UNIT = Box(np.zeros(4), np.ones(4))
SHARES = np.array([0.1, 0.2, 0.3, 0.4])


def kl(x: Any) -> Any:
    p, q = x[:2] + 0.1, x[2:] + 0.1
    return jnp.sum(p * jnp.log(p / q))


EVERYWHERE = {
    "norm": (jnp.linalg.norm, "convex"),
    "logsumexp": (jax.nn.logsumexp, "convex"),
    "smooth max": (lambda x: 0.1 * jax.nn.logsumexp(x / 0.1), "convex"),
    "softplus": (lambda x: jax.nn.softplus(3 * x - 1).sum(), "convex"),
    "logaddexp": (lambda x: jnp.logaddexp(x[0], 2 * x[1]), "convex"),
    "log(1 + exp)": (lambda x: jnp.log1p(jnp.exp(-x @ SHARES)), "convex"),
    "relu": (lambda x: jax.nn.relu(2 * x - 1).sum(), "convex"),
    "standard deviation": (jnp.std, "convex"),
    "entropy": (lambda x: -jnp.sum((x + 0.1) * jnp.log(x + 0.1)), "concave"),
    "entropy as a dot": (lambda x: -jnp.dot(x, jnp.log(x)), "concave"),
    "drift": (lambda x: jnp.sum(x * jnp.log(x / SHARES)), "convex"),
    "sum of logs": (lambda x: jnp.log(x).sum(), "concave"),
    "square roots": (lambda x: jnp.sqrt(x).sum(), "concave"),
    "exponential": (lambda x: jnp.exp(x @ SHARES) + 2 * jnp.exp(-x[0]), "convex"),
    "hyperboloid": (lambda x: jnp.sqrt(1 + jnp.sum(x**2)), "convex"),
    "largest": (jnp.max, "convex"),
    "smallest": (jnp.min, "concave"),
    "largest of two": (lambda x: jnp.maximum(x[0] ** 2, jnp.abs(x[1])), "convex"),
}
ON_THE_DOMAIN = {
    "relative entropy": (kl, "convex"),
    "inverse": (lambda x: (1 / (x + 1)).sum(), "convex"),
    "cubes": (lambda x: (x**3).sum(), "convex"),
    "power": (lambda x: (x**1.5).sum(), "convex"),
    "tanh": (lambda x: jnp.tanh(x).sum(), "concave"),
    "square over linear": (lambda x: jnp.sum(x[:2] ** 2) / (x[3] + 1), "convex"),
}
NEITHER = {
    "sine": lambda x: jnp.sin(6 * x).sum(),
    "product": lambda x: x[0] * x[1] * x[2],
    "softmax": lambda x: jax.nn.softmax(x)[0],
    "cosine": lambda x: x[0] / jnp.linalg.norm(x),
    "difference": lambda x: jnp.linalg.norm(x) - jnp.exp(x[0]),
    "convex of convex, falling": lambda x: jnp.exp(-jnp.square(x).sum()),
    "root of a convex": lambda x: jnp.sqrt(jnp.exp(x).sum() + x[0]),
    "shifted by what it hides": lambda x: jax.nn.logsumexp(x) - 2 * jax.lax.stop_gradient(jnp.max(x)),
    "x log y": lambda x: x[0] * jnp.log(x[1]),
    "log of both below zero": lambda x: jnp.sum((x[:2] - 2) * jnp.log((x[:2] - 2) / (x[2:] - 2))),
}


def is_bent(function: Function, shape: str, rows: np.ndarray) -> bool:
    """Whether f of the middle is on the right side of the middle of f, for pairs of points."""
    first, second = np.split(rows, 2)
    gap = (function.values(first) + function.values(second)) / 2 - function.values((first + second) / 2)
    return bool((gap * (1 if shape == "convex" else -1) >= -1e-9).all())


@pytest.mark.parametrize("name", EVERYWHERE)
def test_shapes_without_a_domain(name: str) -> None:
    """Convex wherever it is a number; that is what the numbers say, too."""
    fn, shape = EVERYWHERE[name]
    assert shape == Function(fn, 4).proved_shape(on_domain=False)
    assert is_bent(Function(fn, 4), shape, np.random.default_rng(0).uniform(0.01, 1, (400, 4)))


@pytest.mark.parametrize("name", ON_THE_DOMAIN)
def test_shapes_on_a_domain(name: str) -> None:
    """Convex where the domain tells the signs, and not claimed without it."""
    fn, shape = ON_THE_DOMAIN[name]
    function = Function(fn, 4, UNIT)
    assert function.proved_shape(on_domain=False) is None
    assert shape == function.proved_shape(on_domain=True)
    assert is_bent(function, shape, np.random.default_rng(0).uniform(0.0, 1, (400, 4)))


@pytest.mark.parametrize("name", NEITHER)
def test_no_proof_of_what_is_not_so(name: str) -> None:
    """Nothing is claimed where nothing is known."""
    function = Function(NEITHER[name], 4, UNIT)
    assert function.proved_shape(on_domain=False) is None
    assert function.proved_shape(on_domain=True) is None


UNARY = {
    "exp": jnp.exp,
    "log": lambda v: jnp.log(v + 2.5),
    "sqrt": lambda v: jnp.sqrt(jnp.abs(v)),
    "square": jnp.square,
    "cube": lambda v: v**3,
    "inverse": lambda v: 1 / (v + 2.5),
    "tanh": jnp.tanh,
    "abs": jnp.abs,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "entropy": lambda v: (v + 2.5) * jnp.log(v + 2.5),
    "negative": lambda v: -v,
    "half": lambda v: 0.5 * v - 0.2,
}
BINARY = {
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "div": lambda a, b: a / (b + 2.5),
    "logaddexp": jnp.logaddexp,
    "xlog": lambda a, b: (a + 2.5) * jnp.log((a + 2.5) / (b + 2.5)),
}
recipes = st.recursive(
    st.sampled_from([0, 1]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(sorted(UNARY)), inner), st.tuples(st.sampled_from(sorted(BINARY)), inner, inner)
    ),
    max_leaves=4,
)


def built(recipe: Any, x: Any) -> Any:
    if isinstance(recipe, int):
        return x[recipe]
    name, *parts = recipe
    return (UNARY | BINARY)[name](*[built(part, x) for part in parts])  # type: ignore[operator]


@given(recipe=recipes, low=st.sampled_from([-1.0, -0.3, 0.0, 0.2]))
@settings(max_examples=60, deadline=None)
def test_whatever_is_proved_holds(recipe: Any, low: float) -> None:
    """Of any composition, a proof that it is convex or concave is borne out by the middles of many pairs of points."""
    function = Function(lambda x: jnp.asarray(built(recipe, x), float), 2, Box(np.full(2, low), np.ones(2)))
    shape = function.proved_shape(on_domain=True)
    if shape is None:
        return
    rows = np.random.default_rng(0).uniform(low, 1, (200, 2))
    values = function.values(rows)
    if np.isfinite(values).all() and np.abs(values).max() < 1e6:
        assert is_bent(function, shape, rows)
