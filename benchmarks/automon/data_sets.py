"""What is monitored: recorded data sets with a reference's figures, or generated ones of the same kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heflwr.automon import Box, Function

from .functions import divergence, inner_product, network, quadratic, saddle, sine

Floats = NDArray[np.float64]

RADII: dict[str, float | str] = {"mlp2": "tuned", "sine": 3.0, "kld_d40": 0.25}
"""Neighbourhoods as the reference had them; the other functions have a constant Hessian."""

COUNTS_OF_KLD = 200 * 12
"""What smooths the distributions of kld_d40: half a sample of a window of 200 at 12 nodes, as 1 / this."""

ORDER = ("inner_product", "quadratic", "mlp2", "saddle", "sine", "kld_d40")


@dataclass(frozen=True, eq=False)
class DataSet:
    """A function, the fleet's vectors, and how the reference fared with them.

    Attributes:
        name: What it is called.
        function: What is monitored.
        data: (rounds, nodes, dim).
        error_bounds: Tightest first.
        tuning_data: Rounds set aside for tuning, where the reference tuned.
        radius: The neighbourhood of the gm protocol.
        reference: Its figures by error bound; empty for generated data.
    """

    name: str
    function: Function
    data: Floats
    error_bounds: tuple[float, ...]
    tuning_data: Floats | None = None
    radius: float | str | None = None
    reference: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Of the gm protocol."""
        return {} if self.radius is None else {"radius": self.radius}


def missing(folder: Path) -> list[str]:
    """Return the files of the recorded data sets that are not in the folder."""
    return [name for name in (*(f"{name}.npz" for name in ORDER), "reference.json") if not (folder / name).is_file()]


def recorded(folder: Path) -> list[DataSet]:
    """Return the data sets in a folder of `missing` none."""
    runs = [run for run in json.loads((folder / "reference.json").read_text()) if run["method"] == "automon"]
    sets = []
    for name in ORDER:
        with np.load(folder / f"{name}.npz") as arrays:
            reference = {run["eps"]: run for run in runs if run["name"] == name}
            sets.append(
                DataSet(
                    name,
                    _function(name, arrays),
                    _vectors(arrays, "X"),
                    tuple(sorted(reference)),
                    _vectors(arrays, "Xtune") if RADII.get(name) == "tuned" else None,
                    RADII.get(name),
                    reference,
                )
            )
    return sets


def generated(rounds: int = 1000, nodes: int = 10, seed: int = 0) -> list[DataSet]:
    """Return data sets of the same kinds, of our own making: a trend, noise with outbreaks, and a drift."""
    random = np.random.default_rng(seed)
    half = 20
    trend = 0.4 * np.cumsum(random.normal(0, 0.05, (rounds, 1, half)), axis=0)
    halves = [trend + random.normal(0, 0.1, (rounds, nodes, half)) for _ in range(2)]
    symmetric = random.normal(0, 0.1, (2 * half, 2 * half))
    noise = random.normal(0, 0.1, (rounds, nodes, 2 * half))
    noise[:, 0] += (random.random((rounds, 1)) < 0.02) * random.normal(0, 0.5, (rounds, 2 * half))
    drift = np.cumsum(random.normal(0, 0.02, (rounds, 1, 1)), axis=0) + random.normal(0, 0.3, (rounds, nodes, 1))
    return [
        DataSet("inner product", inner_product(2 * half), np.concatenate(halves, axis=2), (0.05, 0.2, 0.8)),
        DataSet("quadratic", quadratic(symmetric + symmetric.T), noise, (0.2, 0.5, 1.0)),
        DataSet("sine", sine(), drift, (0.1, 0.5), radius=3.0),
    ]


def _vectors(arrays: Any, name: str) -> Floats:
    if name in arrays:
        return np.asarray(arrays[name], dtype=np.float64)
    return np.asarray(arrays[f"{name}count" if name == "X" else f"{name}_count"] / float(arrays["count_scale"]))


def _function(name: str, arrays: Any) -> Function:
    if name == "inner_product":
        return inner_product(40)
    if name == "quadratic":
        return quadratic(arrays["H"].astype(np.float64))
    if name == "mlp2":
        return network(
            [(np.array(arrays[f"W{i}"], np.float64), np.array(arrays[f"b{i}"], np.float64)) for i in range(1, 5)]
        )
    if name == "saddle":
        return saddle()
    if name == "sine":
        return sine()
    return divergence(40, 1 / COUNTS_OF_KLD, Box(np.zeros(40), np.ones(40)))
