"""A whole fleet in one process: data in, report out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.codec import payload_bytes
from heflwr.automon.function import check_function
from heflwr.automon.messages import COORDINATOR, Constraint, Envelope, Violation
from heflwr.automon.protocols.baselines import BASELINES
from heflwr.automon.protocols.gm import Coordinator, GmFleet
from heflwr.automon.protocols.oneway import OnewayCoordinator, OnewayFleet, choose_certifier
from heflwr.automon.protocols.options import OPTIONS, check_options
from heflwr.automon.protocols.zoning import choose
from heflwr.automon.report import Report
from heflwr.automon.tuning import tuned_radius

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from heflwr.automon.function import Function
    from heflwr.automon.protocols.derivation import AtLeast
    from heflwr.automon.protocols.machine import CoordinatorMachine, Fleet
    from heflwr.automon.zones.zone import Floats

Assemble = Callable[..., "tuple[CoordinatorMachine, Fleet]"]
"""(function, nodes, error_bound, *, tuning_data, seed, **options) -> a coordinator and its fleet."""


def assemble_gm(
    function: Function,
    nodes: int,
    error_bound: float,
    *,
    tuning_data: Floats | None = None,
    seed: int = 0,
    radius: float | str | None = None,
    **options: Any,
) -> tuple[CoordinatorMachine, Fleet]:
    """AutoMon's protocol; `radius="tuned"` runs its Algorithm 2 on `tuning_data` first."""
    if isinstance(radius, str):
        if radius != "tuned":
            raise ValueError(f"radius must be a number, None or 'tuned', got {radius!r}")
        guarantee = options.get("guarantee")
        is_of_use = choose(function, error_bound, guarantee=guarantee, seed=seed).has_neighbourhood
        radius = _tune(function, error_bound, tuning_data, seed, options) if is_of_use else None
    coordinator = Coordinator(function, nodes, error_bound, radius=radius, seed=seed, **options)
    return coordinator, GmFleet(function, nodes)


def assemble_oneway(
    function: Function,
    nodes: int,
    error_bound: float,
    *,
    tuning_data: Floats | None = None,
    seed: int = 0,
    guarantee: AtLeast | None = None,
) -> tuple[CoordinatorMachine, Fleet]:
    """The one-way protocol, which adapts to what it sees and needs no tuning data."""
    found = choose_certifier(function, error_bound, guarantee=guarantee, seed=seed)
    return OnewayCoordinator(function, nodes, error_bound, found), OnewayFleet(function, nodes)


PROTOCOLS: dict[str, Assemble] = {"auto": assemble_oneway, "oneway": assemble_oneway, "gm": assemble_gm, **BASELINES}
"""The protocols that `simulate` knows by name."""

VIOLATION_KINDS = ("safe_zone", "neighbourhood", "faulty")
MESSAGE_KINDS = ("violation", "request", "vector", "constraint", "slack", "report")


def simulate(
    function: Function,
    data: Floats,
    error_bound: float,
    protocol: str | Assemble = "auto",
    *,
    tuning_data: Floats | None = None,
    seed: int = 0,
    **options: Any,
) -> Report:
    """Runs a protocol over recorded data and reports what it cost and how well it did.

    A round: all nodes take their new vector, in order; what they send reaches the coordinator together; messages go
    back and forth until all is quiet; then the answer is compared with the truth.

    Args:
        function: What is monitored.
        data: (rounds, nodes, dim), float64, finite and in the function's domain; row t holds all local vectors at
            round t.
        error_bound: > 0.
        protocol: A name in `PROTOCOLS`, or a function like those; "auto" is what we recommend.
        tuning_data: Rounds for tuning only, (rounds, nodes, dim).
        seed: Of everything random.
        options: The protocol's own; for "gm" those of `protocols.gm.Coordinator`, and radius="tuned"; for "auto" and
            "oneway" `guarantee`.

    Raises:
        TypeError: `function` is no Function, or the protocol does not have an option.
        ValueError: Data are of another shape, not finite or outside the domain, or an argument is out of range.
    """
    check_function(function)
    data = _checked(data, function, "data")
    if tuning_data is not None:
        tuning_data = _checked(tuning_data, function, "tuning_data")
    if isinstance(protocol, str) and protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(sorted(PROTOCOLS))}, got {protocol!r}")
    if isinstance(protocol, str) and protocol in OPTIONS:
        check_options(protocol, options)
    assemble = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    coordinator, fleet = assemble(function, data.shape[1], error_bound, tuning_data=tuning_data, seed=seed, **options)
    run = Run(coordinator, fleet)
    run.over(data)
    answer = coordinator.answer
    return Report(
        protocol=protocol if isinstance(protocol, str) else getattr(protocol, "__name__", "given"),
        error_bound=error_bound,
        nodes=data.shape[1],
        rounds=data.shape[0],
        messages=sum(run.messages.values()),
        messages_by_kind={kind: run.messages[kind] for kind in MESSAGE_KINDS},
        violations_by_kind={kind: run.violations[kind] for kind in VIOLATION_KINDS},
        payload_bytes=run.payload_bytes,
        messages_by_round=np.array(run.messages_by_round, dtype=np.float64),
        estimates=np.array(run.estimates),
        true_values=np.asarray(function.values(data.mean(axis=1)), dtype=np.float64),
        full_syncs=coordinator.full_syncs,
        lazy_syncs=coordinator.lazy_syncs,
        guarantee=answer.guarantee,
        reason=answer.reason,
        coordinator_seconds=run.coordinator_seconds,
        node_seconds=run.node_seconds,
        radius=getattr(coordinator, "radius", None),
    )


class Run:
    """One coordinator and one fleet on their way through data, with everything counted."""

    def __init__(self, coordinator: CoordinatorMachine, fleet: Fleet) -> None:
        self._coordinator = coordinator
        self._fleet = fleet
        self.messages: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.messages_by_round: list[int] = []
        self.estimates: list[float] = []
        self.payload_bytes = 0
        self.coordinator_seconds = 0.0
        self.node_seconds = 0.0
        self._first_reports: list[Envelope] | None = []
        self._vectors: Floats | None = None

    def over(self, data: Iterable[Floats]) -> None:
        """Goes through all rounds of data (rounds, nodes, dim)."""
        value = self._coordinator.answer.value
        for vectors in data:
            self._vectors = vectors
            before = sum(self.messages.values())
            start = perf_counter()
            inbox = self._fleet.update(vectors)
            self.node_seconds += perf_counter() - start
            if inbox:
                self._exchange(inbox)
                value = self._coordinator.answer.value
            if self._first_reports:
                # Nobody was answered: this protocol has no constraints, and its reports are what it costs.
                reports, self._first_reports = self._first_reports, None
                self._count(reports)
            self.estimates.append(value)
            self.messages_by_round.append(sum(self.messages.values()) - before)

    def _exchange(self, inbox: list[Envelope]) -> None:
        """Carries messages to and fro until nobody has anything to say."""
        while inbox:
            self._count(inbox)
            start = perf_counter()
            outbox = self._coordinator.receive(*[envelope.message for envelope in inbox])
            middle = perf_counter()
            inbox = [reply for envelope in outbox for reply in self._fleet.receive(envelope.to, envelope.message)]
            self.coordinator_seconds += middle - start
            self.node_seconds += perf_counter() - middle
            self._count(outbox)

    def _count(self, envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            message = envelope.message
            if self._first_reports is not None:
                # The first reports are left out, as are all messages before the first constraint.
                if not isinstance(message, Constraint):
                    self._first_reports.append(envelope)
                    continue
                self._first_reports = None
            self.messages[type(message).__name__.lower()] += 1
            self.payload_bytes += payload_bytes(message, self._known(envelope))
            if isinstance(message, Violation):
                self.violations[message.kind.name.lower()] += 1

    def _known(self, envelope: Envelope) -> Floats | None:
        """The receiver's vector of this round: what a constraint says of it need not travel."""
        if not isinstance(envelope.message, Constraint):
            return None
        assert self._vectors is not None
        assert envelope.to != COORDINATOR
        return np.asarray(self._vectors[envelope.to])


def _tune(
    function: Function, error_bound: float, tuning_data: Floats | None, seed: int, options: dict[str, Any]
) -> float:
    if tuning_data is None:
        raise ValueError("radius='tuned' needs tuning_data, got None")

    def count(radius: float) -> Counter[str]:
        coordinator = Coordinator(
            function, tuning_data.shape[1], error_bound, radius=radius, may_double=False, seed=seed, **options
        )
        run = Run(coordinator, GmFleet(function, tuning_data.shape[1]))
        run.over(tuning_data)
        return run.violations

    domain = function.domain
    return tuned_radius(count, np.inf if domain is None else float((domain.upper - domain.lower).max()))


def _checked(data: Floats, function: Function, name: str) -> Floats:
    array = np.ascontiguousarray(data, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != function.dim or 0 in array.shape:
        raise ValueError(f"{name} must have shape (rounds, nodes, {function.dim}), got {array.shape}")
    for number, vectors in enumerate(array):
        if not np.isfinite(vectors).all():
            raise ValueError(f"{name} must be finite, got {_first(vectors, ~np.isfinite(vectors), number)}")
        if function.domain is not None:
            outside = (vectors < function.domain.lower) | (vectors > function.domain.upper)
            if outside.any():
                where = _first(vectors, outside, number)
                raise ValueError(f"{name} must be in the function's domain, got {where}: move them in, or widen it")
    return array


def _first(vectors: Floats, is_wrong: NDArray[np.bool_], number: int) -> str:
    node, coordinate = (int(index) for index in np.argwhere(is_wrong)[0])
    return f"{vectors[node, coordinate]} at round {number}, node {node}, coordinate {coordinate}"
