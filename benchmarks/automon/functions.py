"""The monitored functions, at any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from heflwr.automon import Box, Function

Floats = NDArray[np.float64]


def inner_product(dim: int) -> Function:
    """Return u.v of x = [u, v]."""
    half = dim // 2
    return Function(lambda x: x[:half] @ x[half:], dim)


def quadratic(matrix: Floats) -> Function:
    """Return x'Mx."""
    return Function(lambda x: x @ (matrix @ x), len(matrix))


def saddle() -> Function:
    """Return x1^2 - x0^2."""
    return Function(lambda x: x[1] ** 2 - x[0] ** 2, 2)


def sine() -> Function:
    """Return sin x."""
    return Function(lambda x: jnp.sin(x[0]), 1)


def divergence(dim: int, smoothing: float, domain: Box | None) -> Function:
    """Return the Kullback-Leibler divergence of x = [p, q], both smoothed."""
    half = dim // 2

    def value(x: Any) -> Any:
        p, q = x[:half] + smoothing, x[half:] + smoothing
        return jnp.sum(p * jnp.log(p / q))

    return Function(value, dim, domain)


def network(layers: Sequence[tuple[Floats, Floats]]) -> Function:
    """Return a network with tanh between its layers (weights, biases), the last of width one."""

    def value(x: Any) -> Any:
        for number, (weights, biases) in enumerate(layers):
            x = x @ weights + biases
            x = jnp.tanh(x) if number < len(layers) - 1 else x
        return x[0]

    return Function(value, len(layers[0][0]))


def random_network(dim: int, widths: Sequence[int] = (40, 15, 5, 1), seed: int = 0) -> Function:
    """Return a network of random weights, of the variance that keeps a signal's size."""
    random = np.random.default_rng(seed)
    sizes = [dim, *widths]
    return network(
        [
            (random.normal(0, sizes[i] ** -0.5, (sizes[i], sizes[i + 1])), random.normal(0, 0.1, sizes[i + 1]))
            for i in range(len(widths))
        ]
    )
