"""What AutoMon is compared with, ready to simulate: coordinators and fleets by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from heflwr.automon.protocols import gm, periodic
from heflwr.automon.protocols.machine import CoordinatorMachine, Fleet, Machines
from heflwr.automon.protocols.tailored import balls, convex_bound, entropy_zones, local_check, variance_zones

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.derivation import Derivation
    from heflwr.automon.zones.zone import Floats


def assemble_periodic(
    function: Function,
    nodes: int,
    error_bound: float,
    *,
    period: int,
    tuning_data: Floats | None = None,
    seed: int = 0,
) -> tuple[CoordinatorMachine, Fleet]:
    """Every node reports every `period` rounds; nothing else is sent, and nothing bounds the error between."""
    coordinator = periodic.Coordinator(function, nodes, error_bound, period=period)
    return coordinator, Machines([periodic.Node(index, period) for index in range(nodes)])


def assemble_centralization(
    function: Function, nodes: int, error_bound: float, *, tuning_data: Floats | None = None, seed: int = 0
) -> tuple[CoordinatorMachine, Fleet]:
    """Every node reports every round."""
    return assemble_periodic(function, nodes, error_bound, period=1)


def assemble_local_check(
    function: Function,
    nodes: int,
    error_bound: float,
    *,
    sync: gm.Sync = "eager",
    slack: bool = False,
    **options: Any,
) -> tuple[CoordinatorMachine, Fleet]:
    """Each node checks f of its own vector: no bound, unless f is linear.

    sync="lazy-lru" and slack=True give AutoMon without its ADCD.
    """
    return _assemble(local_check, function, nodes, error_bound, sync=sync, slack=slack, **options)


def _assemble(
    derive: Callable[..., Derivation],
    function: Function,
    nodes: int,
    error_bound: float,
    *,
    tuning_data: Floats | None = None,
    sync: gm.Sync = "lazy-lru",
    slack: bool = True,
    seed: int = 0,
    **options: Any,
) -> tuple[CoordinatorMachine, Fleet]:
    """AutoMon's protocol with another zone."""
    derivation = derive(function, error_bound, **options)
    coordinator = gm.Coordinator(function, nodes, error_bound, sync=sync, slack=slack, derivation=derivation, seed=seed)
    return coordinator, gm.GmFleet(function, nodes)


BASELINES: dict[str, Callable[..., tuple[CoordinatorMachine, Fleet]]] = {
    "centralization": assemble_centralization,
    "periodic": assemble_periodic,
    "rlv": assemble_local_check,
    "cb": partial(_assemble, convex_bound),
    "gm-ball": partial(_assemble, balls),
    "entropy": partial(_assemble, entropy_zones),
    "variance": partial(_assemble, variance_zones),
}
"""By the names that `simulate` knows them by."""
