"""A whole simulated fleet: what is counted, what the report says, and that a fleet of arrays equals one of objects."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.automon import fleet
from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.codec import encode, payload_bytes
from heflwr.automon.coordinator import Coordinator as LiveCoordinator
from heflwr.automon.function import Function
from heflwr.automon.messages import COORDINATOR, Constraint, Envelope, Message
from heflwr.automon.protocols import CoordinatorMachine, Fleet, Machines
from heflwr.automon.protocols.gm import Coordinator
from heflwr.automon.protocols.node import Node
from heflwr.automon.protocols.options import OPTIONS
from heflwr.automon.simulation import PROTOCOLS, simulate
from heflwr.automon.tuning import LARGEST_RADIUS, SMALLEST_RADIUS, tuned_radius

SADDLE_HESSIAN = np.diag([-2.0, 2.0])
SADDLE = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2, gradient=lambda x: SADDLE_HESSIAN @ x, hessian=SADDLE_HESSIAN)
SINE = Function(lambda x: np.sin(x[0]), 1, gradient=np.cos, hessian=lambda x: -np.sin(x)[:, None])


def walk(rounds: int, nodes: int, dim: int, seed: int = 0) -> np.ndarray:
    """A common slow drift, and noise of each node's own."""
    random = np.random.default_rng(seed)
    drift = np.cumsum(random.normal(0, 0.05, (rounds, 1, dim)), axis=0)
    return drift + random.normal(0, 0.1, (rounds, nodes, dim))


def one_object_a_node(
    function: Function, nodes: int, error_bound: float, *, tuning_data: Any, seed: int, **options: Any
) -> tuple[CoordinatorMachine, Fleet]:
    machines = [Node(index, function) for index in range(nodes)]
    return Coordinator(function, nodes, error_bound, seed=seed, **options), Machines(machines)


@pytest.mark.parametrize("protocol", ["gm", "oneway"])
def test_still_data_cost_the_first_sync(protocol: str) -> None:
    """Nothing moves: one constraint a node, and no error."""
    report = simulate(SADDLE, np.ones((20, 5, 2)), 0.1, protocol)
    assert 5 == report.messages
    assert {"constraint": 5} == {kind: count for kind, count in report.messages_by_kind.items() if count}
    assert (0.0, 0, 1, 0) == (report.max_error, report.bound_violations, report.full_syncs, report.lazy_syncs)


@pytest.mark.parametrize("sync", ["eager", "lazy-random", "lazy-lru"])
@given(seed=st.integers(0, 10_000), nodes=st.integers(1, 7), error_bound=st.sampled_from([0.02, 0.1, 0.5]))
@settings(max_examples=15, deadline=None)
def test_the_bound_holds_every_round(sync: str, seed: int, nodes: int, error_bound: float) -> None:
    """With a constant Hessian no round ends with an error past the bound, however nodes are chosen."""
    report = simulate(SADDLE, walk(60, nodes, 2, seed), error_bound, "gm", seed=seed, sync=sync)
    assert report.max_error <= error_bound + 1e-9
    assert Guarantee.GUARANTEED is report.guarantee


def test_the_counts_fit_together() -> None:
    """Every request is answered, every violation and answer brings a sync, and the rounds add up to the sum."""
    report = simulate(SADDLE, walk(300, 6, 2), 0.1, "gm")
    kinds = report.messages_by_kind
    assert kinds["request"] == kinds["vector"]
    assert kinds["violation"] + kinds["vector"] + report.nodes == kinds["constraint"] + kinds["slack"]
    assert report.messages == sum(kinds.values()) == report.messages_by_round.sum()
    assert kinds["violation"] == sum(report.violations_by_kind.values())
    assert kinds["constraint"] == report.nodes * report.full_syncs
    assert report.lazy_syncs > 0


@pytest.mark.parametrize(
    ("function", "options"),
    [(SADDLE, {}), (SADDLE, {"sync": "eager", "slack": False}), (SINE, {"radius": 0.5}), (SINE, {"radius": 0.2})],
)
def test_a_fleet_of_arrays_equals_a_fleet_of_objects(function: Function, options: dict[str, Any]) -> None:
    """The vectorised nodes send what the single ones send."""
    data = walk(60, 5, function.dim)
    fast = simulate(function, data, 0.1, "gm", **options)
    slow = simulate(function, data, 0.1, one_object_a_node, **options)
    assert dict(slow.messages_by_kind) == dict(fast.messages_by_kind)
    assert np.array_equal(slow.estimates, fast.estimates)


def test_a_varying_hessian_is_only_searched() -> None:
    """Where the curvature comes from a search the report says that it is heuristic, and why."""
    report = simulate(SINE, walk(100, 4, 1), 0.2, "gm", radius=1.0)
    assert Guarantee.HEURISTIC is report.guarantee
    assert "search" in report.reason
    assert report.max_error <= 0.2


def test_a_linear_function_is_exact() -> None:
    """The zone of a linear function is all that the bound admits: f of the mean leaves it, or nobody stirs for long."""
    share = Function(lambda x: x[0] + 3 * x[1], 2, gradient=lambda x: np.array([1.0, 3.0]), hessian=np.zeros((2, 2)))
    report = simulate(share, walk(100, 4, 2), 0.5)
    assert Guarantee.EXACT is report.guarantee
    assert report.max_error <= 0.5 + 1e-12


def test_a_varying_hessian_needs_a_neighbourhood() -> None:
    """Neither a domain nor a radius: refused with the way out."""
    with pytest.raises(ValueError, match="needs a domain or a radius"):
        simulate(SINE, walk(3, 2, 1), 0.2, "gm")


def test_lazy_sync_saves_messages_on_noise() -> None:
    """On noisy data balancing among few nodes is cheaper than asking all."""
    data = walk(300, 10, 2)
    assert simulate(SADDLE, data, 0.1, "gm").messages < simulate(SADDLE, data, 0.1, "gm", sync="eager").messages


def test_tuning_runs_on_the_tuning_data() -> None:
    """radius="tuned" finds a radius on data set aside, and needs them."""
    report = simulate(SINE, walk(100, 4, 1), 0.2, "gm", radius="tuned", tuning_data=walk(60, 4, 1, seed=1))
    assert report.radius is not None
    assert report.max_error <= 0.2
    with pytest.raises(ValueError, match="needs tuning_data"):
        simulate(SINE, walk(3, 4, 1), 0.2, "gm", radius="tuned")


@pytest.mark.parametrize("widest", [8.0, np.inf])
@pytest.mark.parametrize("best", [0.04, 0.3, 3.0])
def test_tuning_finds_few_violations(best: float, widest: float) -> None:
    """A small radius costs neighbourhood violations, a large one safe-zone violations; the least sum tried wins."""
    tried: dict[float, int] = {}

    def count(radius: float) -> dict[str, int]:
        counts = {"safe_zone": int(100 * radius / best), "neighbourhood": max(int(200 * best / radius) - 100, 0)}
        tried[radius] = sum(counts.values())
        return counts

    found = tuned_radius(count, widest)
    assert min(tried.values()) == tried[found]
    assert 0.2 * best < found < 3 * best


def test_tuning_on_still_data_ends() -> None:
    """No violation at any radius: the search stops, and keeps to the radius it began with."""
    assert 1.0 == tuned_radius(lambda radius: {"safe_zone": 0, "neighbourhood": 0}, np.inf)


@pytest.mark.parametrize("widest", [8.0, np.inf])
@given(safe_zone=st.integers(0, 9), neighbourhood=st.integers(1, 99))
def test_tuning_ends_whatever_the_radius_does(widest: float, safe_zone: int, neighbourhood: int) -> None:
    """Violations that no radius makes fewer: the search ends, within its limits."""
    counts = {"safe_zone": safe_zone, "neighbourhood": neighbourhood}
    assert SMALLEST_RADIUS <= tuned_radius(lambda radius: counts, widest) <= min(widest, LARGEST_RADIUS)


class Recorded:
    """A fleet that notes what each side sends, with the vectors of the round."""

    def __init__(self, fleet: Fleet, sent: list[tuple[Envelope, np.ndarray]]) -> None:
        self._fleet, self._sent = fleet, sent
        self._vectors = np.zeros(0)

    def update(self, vectors: np.ndarray) -> list[Envelope]:
        self._vectors = vectors
        return self._noted(self._fleet.update(vectors))

    def receive(self, node: int, message: Message) -> list[Envelope]:
        self._noted([Envelope(node, message)])
        return self._noted(self._fleet.receive(node, message))

    def _noted(self, envelopes: list[Envelope]) -> list[Envelope]:
        self._sent += [(envelope, self._vectors) for envelope in envelopes]
        return envelopes


@pytest.mark.parametrize("protocol", ["gm", "oneway"])
def test_payload_is_what_the_messages_take_as_bytes(protocol: str) -> None:
    """Every message counts as long as it is encoded, slack that its receiver can work out left out."""
    sent: list[tuple[Envelope, np.ndarray]] = []

    def recorded(*args: Any, **options: Any) -> Any:
        coordinator, fleet = PROTOCOLS[protocol](*args, **options)
        return coordinator, Recorded(fleet, sent)

    data = walk(100, 4, 2)
    report = simulate(SADDLE, data, 0.1, recorded)
    counted = sent[4:]  # but for the first reports
    assert report.messages == len(counted)
    lengths = [
        len(encode(envelope.message, None if envelope.to == COORDINATOR else vectors[envelope.to]))
        for envelope, vectors in counted
    ]
    assert sum(lengths) == report.payload_bytes
    without = sum(payload_bytes(envelope.message) for envelope, _ in counted)
    has_anchored = protocol == "gm" and any(isinstance(envelope.message, Constraint) for envelope, _ in counted)
    assert (report.payload_bytes < without) == has_anchored


BOXED = Function(
    lambda x: x[0] * x[1],
    2,
    Box(np.array([0.0, -np.inf]), np.array([1.0, 2.0])),
    gradient=lambda x: x[::-1],
    hessian=np.eye(2)[::-1],
)


@pytest.mark.parametrize("name", ["data", "tuning_data"])
@pytest.mark.parametrize(("coordinate", "value"), [(0, -1e-9), (0, 1.5), (1, 2.5)])
def test_data_outside_the_domain_are_refused_with_their_place(name: str, coordinate: int, value: float) -> None:
    """A vector outside of where f is defined is found before anything runs, and named."""
    data = np.zeros((5, 3, 2))
    data[4, 1, coordinate] = value
    given = {"data": np.ones((5, 3, 2)), name: data}
    with pytest.raises(ValueError, match=rf"{name} must .* got {value} at round 4, node 1, coordinate {coordinate}"):
        simulate(BOXED, error_bound=0.1, **given)


def test_data_on_the_border_of_the_domain_are_inside() -> None:
    """The domain is closed, and may be open to one side for ever."""
    assert 2 == simulate(BOXED, np.array([[[0.0, -1e9], [1.0, 2.0]]]), 0.1).messages


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (np.zeros((3, 2)), "data must have shape"),
        (np.zeros((3, 2, 5)), "data must have shape"),
        (np.zeros((0, 2, 2)), "data must have shape"),
        (np.full((3, 2, 2), np.nan), "data must be finite, got nan at round 0, node 0, coordinate 0"),
    ],
)
def test_wrong_data_are_refused(data: np.ndarray, match: str) -> None:
    """Shape and numbers are checked before anything runs."""
    with pytest.raises(ValueError, match=match):
        simulate(SADDLE, data, 0.1)


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    """The message lists the names."""
    with pytest.raises(ValueError, match=r"one of .*gm"):
        simulate(SADDLE, np.zeros((3, 2, 2)), 0.1, "guess")


def test_the_report_draws_itself(tmp_path: Path) -> None:
    """One picture: value, band, estimate and messages."""
    pytest.importorskip("matplotlib")
    target = tmp_path / "run.png"
    simulate(SADDLE, walk(50, 3, 2), 0.1).plot(target)
    assert target.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("protocol", "option", "said"),
    [
        ("auto", "radius", r"protocol 'auto' has no option 'radius', only guarantee, seed; protocol 'gm' has it"),
        ("periodic", "guarantee", r"has no option 'guarantee', only period, seed; protocol 'auto' or 'oneway' or 'gm'"),
        ("gm", "perriod", r"has no option 'perriod', only sync, .*, seed$"),
    ],
)
def test_an_option_of_another_protocol_is_refused(protocol: Any, option: str, said: str) -> None:
    """With those that it has, and whose the option is."""
    f = Function(lambda x: x[0], 1, gradient=lambda x: np.ones(1), hessian=np.zeros((1, 1)))
    with pytest.raises(TypeError, match=said):
        simulate(f, np.zeros((2, 2, 1)), 0.1, protocol, **{option: 1})
    if protocol != "periodic":
        with pytest.raises(TypeError, match=said):
            LiveCoordinator(f, 2, 0.1, protocol, **{option: 1})
        state = LiveCoordinator(f, 2, 0.1, protocol).state
        with pytest.raises(TypeError, match=said):
            LiveCoordinator.from_state(state, f, 0.1, protocol, **{option: 1})


def test_each_protocol_has_the_options_that_it_takes() -> None:
    """The table of options names the protocols that there are, and gm's are those of its coordinator."""
    assert set(PROTOCOLS) >= set(OPTIONS)
    parameters = inspect.signature(Coordinator).parameters.values()
    assert {each.name for each in parameters if each.kind is each.KEYWORD_ONLY} == {*OPTIONS["gm"], "seed"}


@pytest.mark.parametrize("given", [lambda x: x[0], None, fleet.mean_cpu], ids=["callable", "none", "catalogue"])
def test_what_is_no_function_is_refused(given: Any) -> None:
    """With how to make one."""
    said = r"function must be a heflwr.automon.Function, got .*: (write Function\(f, dim=|take its .function)"
    with pytest.raises(TypeError, match=said):
        simulate(given, np.zeros((2, 2, 1)), 0.1)
    with pytest.raises(TypeError, match=said):
        LiveCoordinator(given, 2, 0.1)
