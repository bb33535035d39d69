"""The one-way protocol: what it costs and how good its answers are, node by node and event by event."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.automon import report as simulated
from heflwr.automon.answer import Guarantee
from heflwr.automon.box import Box
from heflwr.automon.coordinator import Coordinator
from heflwr.automon.forms import Ratio
from heflwr.automon.function import Function
from heflwr.automon.messages import Constraint, Envelope, Message, Report, Request, Vector, Violation, ViolationKind
from heflwr.automon.protocols import CoordinatorMachine, Fleet, Machines
from heflwr.automon.protocols.node import Node
from heflwr.automon.protocols.oneway import OnewayCoordinator, choose_certifier
from heflwr.automon.protocols.oneway.coordinator import EVERY_CHANGE
from heflwr.automon.protocols.oneway.thrift import Thrift
from heflwr.automon.simulation import simulate
from heflwr.automon.zones.drift import PointZone
from heflwr.automon.zones.slab import SlabZone

HESSIAN = np.diag([-2.0, 2.0])
SADDLE = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2, gradient=lambda x: HESSIAN @ x, hessian=HESSIAN)
RATIO = Ratio(np.array([1.0, 0.5]), np.array([0.01, 0.02]), denominator_offset=3.0)
BOX = Box(np.full(2, -20.0), np.full(2, 20.0))
FUNCTIONS = {
    "quadratic": (SADDLE, Guarantee.GUARANTEED, "constant"),
    "linear": (Function(lambda x: x[0] - 2 * x[1], 2), Guarantee.EXACT, "linear"),
    "convex": (Function(lambda x: jnp.log1p(jnp.exp(x)).sum(), 2), Guarantee.GUARANTEED, "convex"),
    "ratio": (Function.of(RATIO), Guarantee.EXACT, "half-spaces"),
    "network": (Function(lambda x: jnp.tanh(x[0] - 0.5 * x[1]), 2, BOX), Guarantee.GUARANTEED, "affine"),
    "sine": (
        Function(
            lambda x: np.sin(x).sum(), 2, BOX, gradient=np.cos, hessian=lambda x: np.diag(-np.sin(x))
        ),
        Guarantee.HEURISTIC,
        "search",
    ),
}  # fmt: skip


def recorded(kind: str, rounds: int, nodes: int, seed: int) -> np.ndarray:
    """Two numbers a node that follow a trend, are white noise, jump at times, or walk, the first by far the most."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(rounds, nodes, 2))
    match kind:
        case "trend":
            return 0.02 * np.arange(rounds)[:, None, None] + np.cumsum(0.01 * noise, axis=0)
        case "restless":
            return np.cumsum(0.01 * noise * np.where(np.arange(nodes) == 0, 20, 1)[:, None], axis=0)
        case "jumps":
            return np.repeat(random.normal(size=(rounds // 10 + 1, 1, 2)), 10, axis=0)[:rounds] + 0.02 * noise
        case _:
            return noise


def most_messages(report: simulated.Report) -> int:
    """Centralization, three messages a node for trying zones and giving them up, and that again whenever time doubles.

    A zone is sent while as many are left as it costs twice; then every node may leave it at once, and once more when
    every change is asked for.
    """
    return report.centralization + 3 * report.nodes * (1 + (report.rounds // 16).bit_length())


def one_object_a_node(
    function: Function, nodes: int, error_bound: float, *, tuning_data: Any, seed: int
) -> tuple[CoordinatorMachine, Fleet]:
    machines = [Node(index, function) for index in range(nodes)]
    return OnewayCoordinator(
        function, nodes, error_bound, choose_certifier(function, error_bound, seed=seed)
    ), Machines(machines)


# A whole fleet


@pytest.mark.parametrize("kind", ["trend", "noise", "jumps"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_round_is_past_the_bound(name: str, kind: str) -> None:
    """Whatever the function and the data; and the report says what stands behind it."""
    function, guarantee, reason = FUNCTIONS[name]
    rounds = 40 if name == "sine" else 80  # the search for eigenvalues takes its time
    report = simulate(function, recorded(kind, rounds, 5, 1), 0.2)
    assert 0 == report.bound_violations
    assert guarantee is report.guarantee
    assert reason in report.reason or report.reason == EVERY_CHANGE
    assert report.messages <= most_messages(report)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_still_data_cost_one_constraint_a_node(name: str) -> None:
    """Nothing moves, nothing is said; the guarantee and its reason are known from the first zone on."""
    function, guarantee, reason = FUNCTIONS[name]
    report = simulate(function, np.tile(recorded("noise", 1, 4, 0), (10, 1, 1)), 0.1)
    assert 4 == report.messages == report.messages_by_kind["constraint"]
    assert (0, 1, 0) == (report.bound_violations, report.full_syncs, report.lazy_syncs)
    assert guarantee is report.guarantee
    assert reason in report.reason


def test_who_cannot_leave_the_bound_says_nothing() -> None:
    """tanh lies within 1 of 0, whatever the nodes do; within 0.95 of anything it does not."""
    data = 5 * np.cumsum(recorded("noise", 100, 4, 0), axis=0)
    network = Function(lambda x: jnp.tanh(x[0] - 0.5 * x[1]), 2)
    assert simulate(network, data, 1.0).messages == 4
    report = simulate(network, data, 0.95)
    assert report.messages > 20
    assert report.max_error <= 0.95


def test_who_goes_very_far_says_little() -> None:
    """Bytes are counted in billions: the zone of everything grows with the ways."""
    data = 5e9 * np.cumsum(np.abs(recorded("noise", 200, 4, 0)), axis=0)
    network = Function(lambda x: jnp.tanh((x[0] + x[1]) / 1e12), 2)
    assert simulate(network, data, 1.0).messages < 80


@pytest.mark.parametrize("name", ["quadratic", "linear", "convex", "network"])
def test_a_trend_costs_a_part_of_centralization(name: str) -> None:
    """Nodes that keep their course are mostly silent."""
    report = simulate(FUNCTIONS[name][0], recorded("trend", 300, 6, 2), 0.3)
    assert report.messages < report.centralization / 3
    assert report.messages == report.messages_by_kind["report"] + report.messages_by_kind["constraint"]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    nodes=st.integers(1, 8),
    rounds=st.integers(1, 60),
    size=st.floats(-2, 2).map(lambda power: 10**power),
    bound=st.sampled_from([0.03, 0.3, 3.0]),
)
def test_white_noise_costs_little_more_than_centralization(
    seed: int, nodes: int, rounds: int, size: float, bound: float
) -> None:
    """However large, long or short: the bound holds, and zones that do not pay are given up."""
    report = simulate(SADDLE, size * recorded("noise", rounds, nodes, seed), bound)
    assert 0 == report.bound_violations
    assert report.messages <= most_messages(report)


def test_on_wide_white_noise_every_change_is_reported() -> None:
    """In the end there are no zones but the set {0}: one report a node and round, and the exact answer."""
    report = simulate(SADDLE, 10 * recorded("noise", 200, 5, 0), 0.1)
    assert report.reason == EVERY_CHANGE
    assert [5.0] * 50 == report.messages_by_round[-50:].tolist()
    assert report.errors[-50:].max() <= 1e-9


@pytest.mark.parametrize("stillness", [0, 30])
def test_zones_come_back_when_the_noise_has_passed(stillness: int) -> None:
    """After a rest zones are tried again, whether or not anything was saved before, and silence returns."""
    noise = 10 * recorded("noise", 40, 4, 0)
    calm = np.tile(noise[-1], (400, 1, 1))
    calm[stillness:] += 0.001 * recorded("noise", 400 - stillness, 4, 1)
    report = simulate(SADDLE, np.concatenate([noise, calm]), 0.3)
    assert 0 == report.bound_violations == report.messages_by_round[-50:].sum()
    assert report.reason != EVERY_CHANGE


def test_one_jump_at_the_start_is_forgiven() -> None:
    """A first zone that is worth nothing does not end in reporting every change of calm data for ever."""
    data = 1 + 0.01 * recorded("noise", 600, 5, 0)
    data[0] += 5
    report = simulate(SADDLE, data, 0.5)
    assert 0 == report.bound_violations == report.messages_by_round[-50:].sum()
    assert report.messages < report.centralization / 2


@pytest.mark.parametrize("name", ["quadratic", "convex", "ratio", "network"])
@pytest.mark.parametrize("kind", ["trend", "noise", "jumps", "restless"])
def test_a_fleet_of_arrays_equals_a_fleet_of_objects(name: str, kind: str) -> None:
    """The vectorised nodes send what `Node` objects send."""
    function, data = FUNCTIONS[name][0], recorded(kind, 200 if kind == "restless" else 50, 4, 3)
    fast, slow = simulate(function, data, 0.2), simulate(function, data, 0.2, one_object_a_node)
    assert fast.messages_by_kind == slow.messages_by_kind
    assert fast.payload_bytes == slow.payload_bytes
    assert np.array_equal(fast.messages_by_round, slow.messages_by_round)
    assert np.array_equal(fast.estimates, slow.estimates)


def test_a_guarantee_that_cannot_be_had_is_refused() -> None:
    """guarantee="exact" is an error with the way out; "heuristic" takes the search, and the label says so."""
    network, data = FUNCTIONS["network"][0], recorded("trend", 10, 3, 0)
    with pytest.raises(ValueError, match=r"guarantee='exact' cannot be had .* or ask for less"):
        simulate(network, data, 0.2, guarantee="exact")
    with pytest.raises(ValueError, match="guarantee='guaranteed' cannot be had"):
        Coordinator(FUNCTIONS["sine"][0], 3, 0.2, guarantee="guaranteed")
    report = simulate(network, data, 0.2, guarantee="heuristic")
    assert Guarantee.HEURISTIC is report.guarantee
    assert "search" in report.reason


def test_the_books_do_not_grow() -> None:
    """However long one zone stays in force, or every change is reported, only the latest ways are kept."""
    zone = SlabZone(np.ones(2), 1.0, 1.0, is_round=True)
    report = Report(0, 1, 1, 1, ViolationKind.SAFE_ZONE, np.zeros(2))
    thrift = Thrift()
    for is_point in (False, True):
        thrift.renewed(4, is_point)
        for _ in range(500):
            thrift.reported(report, np.ones(2))
            if is_point:
                thrift.is_rested(4)
            elif thrift.is_due(4):
                thrift.weigh(zone, zone)
        assert 0 < len(thrift.recent) < 20
        assert 500 == thrift.reports


def test_questions_do_not_change_the_books() -> None:
    """Whatever is asked, and however often, the books say the same."""
    zone, point = SlabZone(np.ones(2), 1.0, 1.0, is_round=True), PointZone()
    thrift = Thrift()
    for number in range(60):
        thrift.reported(Report(number % 4, 1, number, number, ViolationKind.SAFE_ZONE, np.zeros(2)), np.ones(2))
        if number % 20 == 10:
            thrift.close(4)
            thrift.renewed(4, number > 40)
        before = repr(vars(thrift))
        answers = [
            (
                thrift.is_due(4),
                thrift.would_save(4),
                thrift.has_credit(4),
                thrift.is_too_dear(4),
                thrift.is_rested(4),
                thrift.is_promising(zone),
                thrift.is_promising(point),
            )
            for _ in range(3)
        ]
        assert before == repr(vars(thrift))
        assert 1 == len(set(answers))


# Events


class Monitored:
    """A coordinator with nodes that are wired to it by hand; `deaf` ones hear nothing."""

    def __init__(self, vectors: list[list[float]], bound: float = 0.5) -> None:
        self.coordinator = Coordinator(SADDLE, len(vectors), bound)
        self.nodes = {index: Node(index, SADDLE) for index in range(len(vectors))}
        self.deaf: set[int] = set()
        self.to_coordinator(*[self.reported(index, x) for index, x in enumerate(vectors)])

    def reported(self, node: int, x: list[float]) -> Any:
        (envelope,) = self.nodes[node].update(np.array(x))
        return envelope.message

    def to_coordinator(self, *messages: Message) -> None:
        self.deliver(self.coordinator.receive(*messages))

    def deliver(self, envelopes: list[Envelope]) -> None:
        for envelope in envelopes:
            if envelope.to not in self.deaf:
                self.to_coordinator(*[reply.message for reply in self.nodes[envelope.to].receive(envelope.message)])

    def check(self) -> None:
        """What is promised of the nodes that are here."""
        mean = np.mean([node.state.vector for node in self.nodes.values()], axis=0)
        answer = self.coordinator.answer
        assert answer.is_quiescent
        assert (len(self.nodes), 0) == (answer.live, answer.stale)
        assert abs(SADDLE.value(mean) - answer.value) <= answer.bound


@pytest.mark.parametrize(
    ("node", "x"),
    [(3, [0.0, 0.0]), (-1, [0.0, 0.0]), (0, [0.0]), (0, [[0.0, 0.0]]), (0, [np.nan, 0.0]), (0, [0.0, np.inf])],
)
def test_unsound_messages_change_nothing(node: int, x: list[float]) -> None:
    """A node that nobody knows, another shape, no number: refused and counted, all three kinds of message."""
    fleet = Monitored([[1.0, 1.0], [0.0, 1.0]])
    before, vector, kind = fleet.coordinator.state, np.array(x), ViolationKind.SAFE_ZONE
    for number, message in enumerate(
        [Report(node, 1 << 20, 9, 9, kind, vector), Violation(node, 0, kind, vector), Vector(node, 0, vector)]
    ):
        assert [] == fleet.coordinator.receive(message)
        assert number + 1 == fleet.coordinator.refused
    assert [] == fleet.coordinator.receive(Request(0), Constraint(1, PointZone(), None))
    assert 5 == fleet.coordinator.refused
    after = fleet.coordinator.state
    assert all(np.array_equal(before[key], after[key]) for key in before if key != "counts")


def test_the_latest_report_counts_in_whatever_order_they_arrive() -> None:
    """Repeated and overtaken reports change nothing."""
    fleet = Monitored([[1.0, 1.0], [0.0, 1.0]])
    early, late = fleet.reported(0, [1.0, 1.6]), fleet.reported(0, [1.0, 2.3])
    assert (early.sequence, late.sequence, late.updates) == (1, 2, 3)
    fleet.to_coordinator(late)
    before = fleet.coordinator.state
    for message in (early, late, early):
        assert [] == fleet.coordinator.receive(message)
    after = fleet.coordinator.state
    assert all(np.array_equal(before[key], after[key]) for key in before)
    fleet.check()


def test_a_lost_node_leaves_the_mean() -> None:
    """The answer is of the others at once; without any node there is none."""
    fleet = Monitored([[0.0, 1.0], [0.0, 1.0], [0.0, 4.0]])
    del fleet.nodes[2]
    fleet.deliver(fleet.coordinator.lost(2))
    fleet.check()
    assert (2, 1) == (fleet.coordinator.answer.live, fleet.coordinator.answer.lost)
    assert [] == fleet.coordinator.lost(2) == fleet.coordinator.lost(7)
    for node in (0, 1):
        assert [] == fleet.coordinator.lost(node)
    assert 0 == fleet.coordinator.answer.live
    assert np.isnan(fleet.coordinator.answer.value)


def test_a_node_that_joins_counts_from_its_vector_on() -> None:
    """It is asked for it; until it comes the answer is of the others and says that one is awaited."""
    fleet = Monitored([[0.0, 1.0], [0.0, 1.0]])
    before = fleet.coordinator.answer
    (request,) = fleet.coordinator.join(2)
    assert (2, Request) == (request.to, type(request.message))
    assert [] == fleet.coordinator.join(2)
    answer = fleet.coordinator.answer
    assert (before.value, 3, 1, False) == (answer.value, answer.live, answer.stale, answer.is_quiescent)
    assert [2] == [envelope.to for envelope in fleet.coordinator.resend()]
    fleet.nodes[2] = Node(2, SADDLE)
    fleet.to_coordinator(fleet.reported(2, [0.0, 4.0]))
    fleet.check()


def test_a_heartbeat_repairs_a_lost_report() -> None:
    """A node that sent more reports than arrived is told its zone again, and reports what was lost."""
    fleet = Monitored([[0.0, 1.0], [0.0, 1.0]])
    fleet.reported(0, [0.0, 5.0])  # and it is lost
    state = fleet.nodes[0].state
    assert abs(SADDLE.value(np.array([0.0, 3.0])) - fleet.coordinator.answer.value) > 0.5
    fleet.deliver(fleet.coordinator.heard(0, state.version, state.sequence))
    fleet.check()
    state = fleet.nodes[0].state
    assert [] == fleet.coordinator.heard(0, state.version, state.sequence)
    assert [] == fleet.coordinator.heard(5, 0, 0)


def test_a_heartbeat_repairs_a_lost_constraint() -> None:
    """A node that holds an older zone than it was sent gets the present one."""
    fleet = Monitored([[0.0, 1.0], [0.0, 1.0]])
    fleet.deaf = {1}
    fleet.to_coordinator(fleet.reported(0, [0.0, 9.0]))
    state = fleet.nodes[1].state
    assert state.version < fleet.coordinator.answer.as_of
    fleet.deaf = set()
    fleet.deliver(fleet.coordinator.heard(1, state.version, state.sequence))
    assert fleet.nodes[1].state.version == fleet.coordinator.answer.as_of
    fleet.check()


@pytest.mark.parametrize("moved", [False, True])
def test_a_restarted_coordinator_ends_with_the_same_answer(moved: bool) -> None:
    """From its state, after everybody was asked: later versions, the same nodes, the bound for where they are now."""
    fleet = Monitored([[0.0, 1.0], [0.3, 1.0], [0.0, 2.0]])
    fleet.coordinator.receive(Vector(9, 0, np.zeros(2)))
    before, state = fleet.coordinator.answer, fleet.coordinator.state
    if moved:
        fleet.reported(1, [3.0, 1.0])  # while nobody listens
    fleet.coordinator = Coordinator.from_state(state, SADDLE, 0.5)
    assert (before.value, False) == (fleet.coordinator.answer.value, fleet.coordinator.answer.is_quiescent)
    assert (1, before.live) == (fleet.coordinator.refused, fleet.coordinator.answer.live)
    fleet.deliver(fleet.coordinator.restart())
    fleet.check()
    assert fleet.coordinator.answer.as_of > before.as_of
    assert moved or before.value == pytest.approx(fleet.coordinator.answer.value, abs=1e-9)
