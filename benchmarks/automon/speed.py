"""How long things take: a full sync, the first one, a node's check, a big fleet; and what a node weighs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heflwr.automon import Box, Function
from heflwr.automon.messages import COORDINATOR, Constraint, Violation, ViolationKind
from heflwr.automon.protocols.adcd import Adcd
from heflwr.automon.protocols.gm import Coordinator
from heflwr.automon.protocols.node import Node
from heflwr.automon.simulation import PROTOCOLS, Run

from .functions import divergence, inner_product, random_network

Floats = NDArray[np.float64]

NODES = 10
RADII = {"KLD": 0.25, "MLP": 0.4}
"""Of the neighbourhoods in which eigenvalues are searched."""

REFERENCE_MS: dict[str, dict[int, tuple[float, float]]] = {
    "KLD": {10: (30, 30), 20: (60, 60), 40: (176, 176), 100: (2323, 2323), 200: (15_000, 70_000)},
    "MLP": {10: (10, 10), 20: (35, 35), 40: (179, 179), 100: (974, 974), 200: (8378, 8378)},
}
"""Least and greatest of the reference's times of one full sync, by dimension; on another day of another machine."""

WEIGHINGS = 5
"""Processes of a node; pages are shared or not by chance."""

WEIGH = Path(__file__).with_name("weigh.py")


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    dims: tuple[int, ...]
    syncs: int
    checks: int
    fleets: tuple[int, ...]
    rounds: int


EFFORTS = {
    "full": Effort((10, 20, 40, 100, 200, 1000), 9, 2000, (100, 1000, 10_000), 1000),
    "quick": Effort((10, 40, 200), 3, 500, (100, 1000, 10_000), 100),
    "smoke": Effort((4,), 1, 5, (10,), 5),
}


def measure(effort: Effort) -> dict[str, Any]:
    """Return all times: milliseconds of full syncs and seconds of the first, microseconds of checks, KiB of a node."""
    return {
        "syncs": {
            f"{kind}, proved" if is_proved else kind: {
                dim: _syncs(kind, dim, effort.syncs, is_proved=is_proved) for dim in effort.dims
            }
            for kind in ("KLD", "MLP")
            for is_proved in (False, True)
        },
        "checks": {
            "inner product": _check(inner_product(40), 0.3, effort.checks),
            "KLD": _check(_kld(40), 0.1, effort.checks),
        },
        "node": weigh(),
        "fleets": [_fleet(nodes, effort.rounds) for nodes in effort.fleets],
    }


def weigh() -> dict[str, Any]:
    """Return what a process of one node takes beyond NumPy: median over processes of its own, KiB."""
    with TemporaryDirectory() as compiled:
        # As installed: the first process compiles, which takes memory of its own, and does not count.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, str(WEIGH)]
        outputs = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
            for _ in range(1 + WEIGHINGS)
        ][1:]
    return {
        "kib": statistics.median(float(kib) for kib, _ in outputs),
        "has_jax": any(has_jax == "True" for _, has_jax in outputs),
    }


def _kld(dim: int) -> Function:
    return divergence(dim, 1 / 2400, Box(np.zeros(dim), np.ones(dim)))


def _vectors(kind: str, dim: int, random: np.random.Generator) -> Floats:
    """Local vectors of a small fleet, around a mean that is another each time."""
    if kind == "KLD":
        halves = [random.dirichlet(np.full(dim // 2, 5.0)) for _ in range(2)]
        return np.concatenate([random.multinomial(200, half, NODES) / 200 for half in halves], axis=1)
    return random.normal(0, 0.5, dim) + random.normal(0, 0.1, (NODES, dim))


def _syncs(kind: str, dim: int, repeats: int, is_proved: bool) -> dict[str, Any]:
    """Time full syncs of a coordinator whose nodes all report, and the first one, which compiles.

    With AutoMon's eigenvalue search, or with the strongest guarantee that the function allows.
    """
    random = np.random.default_rng(dim)
    function = _kld(dim) if kind == "KLD" else random_network(dim)
    derivation = None if is_proved else Adcd(function, 0.1)
    coordinator = Coordinator(function, NODES, 0.1, sync="eager", radius=RADII[kind], derivation=derivation)
    times, version = [], 0
    for _ in range(repeats + 1):
        vectors = _vectors(kind, dim, random)
        messages = [Violation(i, version, ViolationKind.SAFE_ZONE, x) for i, x in enumerate(vectors)]
        began = time.perf_counter()
        envelopes = coordinator.receive(*messages)
        times.append(time.perf_counter() - began)
        sent = envelopes[0].message
        assert isinstance(sent, Constraint), sent
        version = sent.version
    after = [1000 * each for each in times[1:]]
    return {
        "ms": statistics.median(after),
        "ms_least": min(after),
        "ms_most": max(after),
        "first_s": times[0],
        "guarantee": coordinator.answer.guarantee.value,
    }


def _check(function: Function, error_bound: float, calls: int) -> float:
    """Time a node's update inside its zone: median over batches, microseconds."""
    random = np.random.default_rng(0)
    x = np.concatenate([random.dirichlet(np.full(20, 5.0)), random.dirichlet(np.full(20, 5.0))])
    coordinator = Coordinator(function, 1, error_bound, radius=0.25)
    node = Node(0, function)
    for envelope in coordinator.receive(*[each.message for each in node.update(x)]):
        assert envelope.to != COORDINATOR
        assert not node.receive(envelope.message)
    batches = []
    for _ in range(9):
        began = time.perf_counter()
        for _ in range(calls):
            node.update(x)
        batches.append((time.perf_counter() - began) / calls * 1e6)
    assert not node.update(x)
    return statistics.median(batches)


def _fleet(nodes: int, rounds: int) -> dict[str, Any]:
    """Simulate a fleet on an inner product, its vectors made as it goes: seconds without the making, and messages."""
    function, random = inner_product(40), np.random.default_rng(0)
    protocol = "auto" if "auto" in PROTOCOLS else "gm"
    making = 0.0

    def vectors() -> Iterator[Floats]:
        nonlocal making
        mean = np.full(40, 0.3)
        for _ in range(rounds):
            began = time.perf_counter()
            mean += random.normal(0, 0.002, 40)
            made = mean + 0.05 * random.standard_normal((nodes, 40))
            making += time.perf_counter() - began
            yield made

    coordinator, fleet = PROTOCOLS[protocol](function, nodes, 0.3, tuning_data=None, seed=0)
    run = Run(coordinator, fleet)
    began = time.perf_counter()
    run.over(vectors())
    seconds = time.perf_counter() - began - making
    messages = sum(run.messages.values())
    return {"nodes": nodes, "rounds": rounds, "protocol": protocol, "seconds": seconds, "messages": messages}
