"""What this fleet wants to know: how unevenly its machines are loaded."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heflwr.automon import Box, Function

DIM = 2


def vector(load: float) -> NDArray[np.float64]:
    """Return the local vector of a machine whose CPUs are busy for this share of the time, 0 to 1."""
    return np.array([load, load * load])


def imbalance(x: Any) -> Any:
    """Return the variance of the loads, of the mean of all local vectors: the mean square minus the squared mean."""
    return x[1] - x[0] ** 2


def function() -> Function:
    """Return what is monitored; with numpy= a node needs no JAX."""
    return Function(imbalance, DIM, Box(np.zeros(DIM), np.ones(DIM)), numpy=imbalance)


def setting(name: str, default: str) -> str:
    """Return an environment variable of the example, as containers are configured."""
    return os.environ.get(f"HEFLWR_{name}", default)
