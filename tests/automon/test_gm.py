"""AutoMon's zones, node and coordinator, one by one and under random schedules."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from heflwr.automon.box import Box
from heflwr.automon.function import Function
from heflwr.automon.messages import (
    COORDINATOR,
    Constraint,
    Envelope,
    Request,
    Slack,
    Vector,
    Violation,
    ViolationKind,
    generation,
    version,
)
from heflwr.automon.protocols.gm import Coordinator
from heflwr.automon.protocols.node import Node
from heflwr.automon.zones.dc import DcZone
from heflwr.automon.zones.quadratic import QuadraticZone

SADDLE_HESSIAN = np.diag([-2.0, 2.0])
SADDLE = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2, gradient=lambda x: SADDLE_HESSIAN @ x, hessian=SADDLE_HESSIAN)
WAVE = Function(
    lambda x: np.sin(x[0]) + np.cos(x[1]),
    2,
    gradient=lambda x: np.array([np.cos(x[0]), -np.sin(x[1])]),
    hessian=lambda x: np.diag([-np.sin(x[0]), -np.cos(x[1])]),
)

numbers = st.floats(-3, 3, allow_subnormal=False)
points = st.tuples(numbers, numbers).map(np.array)
far_points = st.tuples(*[st.sampled_from([-3.0, -1.5, -0.7, -0.2, 0.0, 0.2, 0.7, 1.5, 3.0])] * 2).map(np.array)


def saddle_zone(reference: np.ndarray, error_bound: float) -> QuadraticZone:
    value = SADDLE.value(reference)
    bounds = (value - error_bound, value + error_bound)
    return QuadraticZone.of(reference, value, SADDLE.gradient(reference), bounds, SADDLE_HESSIAN)


def wave_zone(reference: np.ndarray, error_bound: float, is_convex: bool, curvature: float = 1.0) -> DcZone:
    value = WAVE.value(reference)
    bounds = (value - error_bound, value + error_bound)
    return DcZone(reference, value, WAVE.gradient(reference), *bounds, curvature, is_convex, 1.0).finished(WAVE)


def envelope_kinds(envelopes: list[Envelope]) -> list[tuple[int, str]]:
    return [(envelope.to, type(envelope.message).__name__) for envelope in envelopes]


@given(points, points, st.floats(0.01, 4))
def test_a_quadratic_zone_admits_only_points_within_the_bound(
    reference: np.ndarray, point: np.ndarray, error_bound: float
) -> None:
    """Inside the zone f is within the error bound of f(x0)."""
    if saddle_zone(reference, error_bound).violation(point) is None:
        assert abs(SADDLE.value(point) - SADDLE.value(reference)) <= error_bound + 1e-9


@given(points, points, st.floats(0.01, 1.5), st.booleans())
def test_a_dc_zone_admits_only_points_within_the_bound(
    reference: np.ndarray, point: np.ndarray, error_bound: float, is_convex: bool
) -> None:
    """Inside the zone f is within the error bound of f(x0), for the convex and for the concave difference."""
    if wave_zone(reference, error_bound, is_convex).violation(point) is None:
        assert abs(WAVE.value(point) - WAVE.value(reference)) <= error_bound + 1e-9


@given(points, st.lists(points, min_size=2, max_size=2), st.floats(0, 1), st.booleans())
def test_zones_are_convex(reference: np.ndarray, ends: list[np.ndarray], share: float, is_convex: bool) -> None:
    """Between two points of a zone every point is in the zone, so that means of members are members."""
    between = share * ends[0] + (1 - share) * ends[1]
    for wide, narrow in (
        (saddle_zone(reference, 0.5 + 1e-9), saddle_zone(reference, 0.5)),
        (wave_zone(reference, 0.5 + 1e-9, is_convex), wave_zone(reference, 0.5, is_convex)),
    ):
        if all(narrow.violation(end) is None for end in ends):
            kind = wide.violation(between)
            # A point on the neighbourhood's border may round out of it.
            assert kind is None or (kind is ViolationKind.NEIGHBOURHOOD and isinstance(wide, DcZone))


@given(points, st.lists(points, min_size=1, max_size=6))
def test_many_points_are_judged_as_one_by_one(reference: np.ndarray, rows: list[np.ndarray]) -> None:
    """The array form of the check gives each point the kind that the single form gives it."""
    many = np.array(rows)
    quadratic = saddle_zone(reference, 0.5)
    dc = wave_zone(reference, 0.5, True, curvature=0.1)
    assert [quadratic.violation(row) or 0 for row in many] == quadratic.violations(many).tolist()
    values = np.array([WAVE.numpy(row) for row in many])
    assert [dc.violation(row) or 0 for row in many] == dc.violations(many, values).tolist()


def test_a_zone_names_the_kind_of_violation() -> None:
    """Far away is a neighbourhood violation; past a threshold where curvature was underrated is a faulty zone."""
    zone = wave_zone(np.zeros(2), 0.3, True, curvature=0.0)
    assert ViolationKind.NEIGHBOURHOOD is zone.violation(np.array([0.0, 1.5]))
    assert ViolationKind.FAULTY is zone.violation(np.array([0.0, 0.9]))
    assert ViolationKind.SAFE_ZONE is zone.violation(np.array([0.9, 0.0]))
    assert zone.violation(np.array([np.nan, 0.0])) is not None


def test_the_neighbourhood_stays_in_the_domain() -> None:
    """The box around x0 is cut by the function's domain."""
    bounded = Function(WAVE.numpy, 2, Box(np.zeros(2), np.ones(2)), gradient=WAVE.gradient, hessian=WAVE.hessian)
    zone = DcZone(np.array([0.1, 0.5]), 0.0, np.zeros(2), -1.0, 1.0, 1.0, True, 0.25).finished(bounded)
    assert Box(np.array([0.0, 0.25]), np.array([0.35, 0.75])) == zone.box


def test_a_node_without_a_constraint_reports() -> None:
    """The first vector always goes to the coordinator, with version 0."""
    (sent,) = Node(3, SADDLE).update(np.ones(2))
    assert COORDINATOR == sent.to
    assert isinstance(sent.message, Violation)
    assert (3, 0) == (sent.message.node, sent.message.version)


def test_a_node_is_silent_inside_its_zone() -> None:
    """x - slack inside: nothing to say; outside: a violation with the vector."""
    node = Node(0, SADDLE)
    node.update(np.array([1.0, 1.0]))
    node.receive(Constraint(version(1), saddle_zone(np.zeros(2), 0.5), np.array([1.0, 1.0])))
    assert [] == node.update(np.array([1.1, 1.1]))
    (sent,) = node.update(np.array([1.0, 2.0]))
    assert isinstance(sent.message, Violation)
    assert ViolationKind.SAFE_ZONE is sent.message.kind
    assert [1.0, 2.0] == sent.message.vector.tolist()


@pytest.mark.parametrize("x", [np.ones(3), np.ones((1, 2)), np.array([np.nan, 0.0])])
def test_a_node_refuses_a_vector_that_is_none(x: np.ndarray) -> None:
    """A wrong shape or a NaN raises, and the node stays as it was."""
    node = Node(0, SADDLE)
    node.receive(Constraint(version(1), saddle_zone(np.zeros(2), 0.5), np.zeros(2)))
    before = vars(node.state)
    with pytest.raises(ValueError, match="local vector"):
        node.update(x)
    assert before == vars(node.state)


def test_a_node_has_an_index_that_messages_can_name() -> None:
    """-1 is the coordinator's address."""
    with pytest.raises(ValueError, match="index must be >= 0, got -1"):
        Node(COORDINATOR, SADDLE)


def test_a_node_ignores_what_is_not_newer() -> None:
    """A late or repeated constraint or slack changes nothing."""
    node = Node(0, SADDLE)
    node.update(np.zeros(2))
    constraint = Constraint(version(2, 1), saddle_zone(np.zeros(2), 0.5), np.zeros(2))
    node.receive(constraint)
    before = vars(node.state)
    for late in (constraint, Constraint(version(1), constraint.zone, np.ones(2)), Slack(version(2, 1), np.ones(2))):
        assert [] == node.receive(late)
        assert all(value is vars(node.state)[name] for name, value in before.items() if name != "version")
        assert version(2, 1) == node.state.version


def test_a_node_that_missed_a_zone_asks_for_a_whole_constraint() -> None:
    """Slack for a zone the node does not hold, or a zone without the Hessian it never got, is answered by version 0."""
    for message in (
        Slack(version(2, 1), np.zeros(2)),
        Constraint(version(2), saddle_zone(np.zeros(2), 0.5).without_factor(), np.zeros(2)),
    ):
        node = Node(0, SADDLE)
        node.update(np.zeros(2))
        (sent,) = node.receive(message)
        assert isinstance(sent.message, Violation)
        assert 0 == sent.message.version


@pytest.mark.parametrize("slack", [np.zeros(2), np.ones(2)])
def test_a_node_checks_a_new_constraint_against_the_vector_it_sent(slack: np.ndarray) -> None:
    """The coordinator may have used an older vector: a node that is outside says so at once, sent before or not."""
    node = Node(0, SADDLE)
    node.update(np.array([0.0, 5.0]))
    (sent,) = node.receive(Constraint(version(1), saddle_zone(np.zeros(2), 0.5), slack))
    assert isinstance(sent.message, Violation)
    assert version(1) == sent.message.version


def test_a_node_without_slack_says_nothing_twice() -> None:
    """Without slack a vector may be outside right after a full sync; that is no news."""
    node = Node(0, SADDLE)
    node.update(np.array([0.0, 5.0]))
    assert [] == node.receive(Constraint(version(1), saddle_zone(np.zeros(2), 0.5), None))
    assert 1 == len(node.update(np.array([0.0, 5.0])))


def test_a_node_made_from_its_state_goes_on() -> None:
    """State is a value: another node made from it behaves alike."""
    node = Node(0, SADDLE)
    node.update(np.zeros(2))
    node.receive(Constraint(version(1), saddle_zone(np.zeros(2), 0.5), np.zeros(2)))
    again = Node.from_state(node.state, SADDLE)
    assert [] == again.update(np.array([0.1, 0.1]))
    assert 1 == len(again.update(np.array([0.0, 2.0])))


WITHOUT_JAX = """
import sys
sys.modules["jax"] = None
import numpy as np
from heflwr.automon import Box, Node
from heflwr.automon.codec import decode, encode
from heflwr.automon.messages import Constraint, version
from heflwr.automon.zones.affine import AffineZone
from heflwr.automon.zones.concave import ConcaveZone
from heflwr.automon.zones.dc import DcZone
from heflwr.automon.zones.drift import PointZone, ShiftedZone
from heflwr.automon.zones.halfspaces import HalfSpaces
from heflwr.automon.zones.quadratic import QuadraticZone
from heflwr.automon.zones.slab import SlabZone

class Wave:
    domain = Box(np.full(2, -9.0), np.full(2, 9.0))

    @staticmethod
    def numpy(x):
        return float(np.sin(x).sum())

x, slope, hessian = np.zeros(2), np.ones(2), np.diag([-1.0, 1.0])
centred = [
    QuadraticZone.of(x, 0.0, slope, (-1.0, 1.0), hessian),
    DcZone(x, 0.0, slope, -1.0, 1.0, 1.0, True, 0.5),
    HalfSpaces(x, 0.0, np.eye(2), slope),
    ConcaveZone(x, 0.0, -1.0, slope, 1.0),
    AffineZone(x, 0.0, slope, slope, 1.0, 1.0, 0.5),
]
drifts = [
    PointZone(),
    SlabZone(slope, 1.0, 1.0, 1.0, 1.0, True),
    SlabZone(slope, 1.0, 1.0, positive=1, factor=np.eye(2)),
    *[ShiftedZone(zone, 0.5) for zone in centred],
]
node = Node(0, Wave())
node.update(x)
for number, zone in enumerate([*centred, *drifts]):
    constraint = decode(encode(Constraint(version(number + 1), zone, x)))
    assert not node.receive(constraint), zone
    assert not node.update(x), zone
    (sent,) = node.update(np.full(2, 8.0))
    node.update(x)
    assert type(sent.message).__name__ == ("Violation" if zone in centred else "Report"), zone
assert not [name for name in sys.modules if name.startswith("jax.")]
"""


def test_a_node_loads_no_jax() -> None:
    """A node runs where jax cannot be imported, in every zone of vectors or of drifts that may come by wire."""
    subprocess.run([sys.executable, "-c", WITHOUT_JAX], check=True)


def begun(nodes: int = 4, **options: object) -> tuple[Coordinator, list[Node]]:
    """A coordinator and nodes at the origin, after the first sync."""
    coordinator = Coordinator(SADDLE, nodes, 0.5, **options)  # type: ignore[arg-type]
    machines = [Node(index, SADDLE) for index in range(nodes)]
    reports = [envelope.message for node in machines for envelope in node.update(np.zeros(2))]
    for envelope in coordinator.receive(*reports):
        machines[envelope.to].receive(envelope.message)
    return coordinator, machines


def test_the_first_sync_waits_for_all_nodes() -> None:
    """No answer before every node has reported; then every node gets a whole constraint."""
    coordinator = Coordinator(SADDLE, 2, 0.5)
    assert [] == coordinator.receive(Violation(0, 0, ViolationKind.SAFE_ZONE, np.zeros(2)))
    assert np.isnan(coordinator.answer.value)
    sent = coordinator.receive(Violation(1, 0, ViolationKind.SAFE_ZONE, np.ones(2)))
    assert [(0, "Constraint"), (1, "Constraint")] == envelope_kinds(sent)
    assert 0.0 == coordinator.answer.value
    assert coordinator.answer.is_quiescent


def test_a_lazy_sync_polls_the_least_recently_used_node_first() -> None:
    """One violator: node after node is polled, in order of use and then of index, until the mean is inside."""
    coordinator, nodes = begun(6)
    (violation,) = nodes[2].update(np.array([0.0, 1.0]))
    polled = coordinator.receive(violation.message)
    assert [(0, "Request")] == envelope_kinds(polled)
    sent = coordinator.receive(*[reply.message for reply in nodes[0].receive(polled[0].message)])
    assert [(0, "Slack"), (2, "Slack")] == envelope_kinds(sent)
    (violation,) = nodes[1].update(np.array([0.0, 1.0]))
    assert [(3, "Request")] == envelope_kinds(coordinator.receive(violation.message))


def test_half_of_the_nodes_is_the_most_a_lazy_sync_uses() -> None:
    """When half of the nodes cannot balance the violation all the others are polled for a full sync."""
    coordinator, nodes = begun(4)
    (violation,) = nodes[3].update(np.array([0.0, 4.0]))
    (poll,) = coordinator.receive(violation.message)
    others = coordinator.receive(*[reply.message for reply in nodes[poll.to].receive(poll.message)])
    assert [(1, "Request"), (2, "Request")] == envelope_kinds(others)
    answers = [reply.message for envelope in others for reply in nodes[envelope.to].receive(envelope.message)]
    assert [(node, "Constraint") for node in range(4)] == envelope_kinds(coordinator.receive(*answers))
    assert (2, 0) == (coordinator.full_syncs, coordinator.lazy_syncs)
    assert 1.0 == coordinator.answer.value


def test_the_constant_hessian_travels_once() -> None:
    """Only a node's first constraint holds the Hessian."""
    coordinator, nodes = begun(2, sync="eager")
    (violation,) = nodes[0].update(np.array([0.0, 4.0]))
    (poll,) = coordinator.receive(violation.message)
    sent = coordinator.receive(*[reply.message for reply in nodes[1].receive(poll.message)])
    assert all(isinstance(each.message, Constraint) for each in sent)
    assert all(each.message.zone.factor is None for each in sent)  # type: ignore[union-attr]


def test_unsound_messages_change_nothing() -> None:
    """A node that does not exist, a wrong dimension and a NaN are refused and counted."""
    coordinator, _ = begun(2)
    before = coordinator.state
    kind = ViolationKind.SAFE_ZONE
    assert [] == coordinator.receive(Violation(-1, 0, kind, np.zeros(2)), Violation(2, 0, kind, np.zeros(2)))
    assert [] == coordinator.receive(Violation(0, 0, kind, np.zeros(3)), Violation(0, 0, kind, np.full(2, np.nan)))
    assert [] == coordinator.receive(Request(0))
    assert 5 == coordinator.refused
    after = coordinator.state
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "counts")


def test_a_vector_nobody_asked_for_changes_nothing() -> None:
    """A late answer to a request is ignored."""
    coordinator, _ = begun(2)
    assert [] == coordinator.receive(Vector(0, version(1), np.ones(2)))
    assert coordinator.is_quiescent


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"nodes": 0}, "nodes must be >= 1"),
        ({"error_bound": 0.0}, "error_bound must be > 0"),
        ({"sync": "lazy"}, "sync must be eager"),
        ({"slack": False}, "needs slack"),
        ({"radius": 0.0}, "radius must be > 0"),
    ],
)
def test_wrong_arguments_are_refused_at_the_door(options: dict[str, object], match: str) -> None:
    """The constructor names the value and the way out."""
    with pytest.raises(ValueError, match=match):
        Coordinator(**{"function": SADDLE, "nodes": 2, "error_bound": 0.5} | options)  # type: ignore[arg-type]


def test_many_neighbourhood_violations_double_the_radius() -> None:
    """More than 5 n of them in a row make the next sync a full one with twice the radius."""
    coordinator = Coordinator(WAVE, 2, 5.0, radius=1.0)
    coordinator.receive(*[Violation(node, 0, ViolationKind.SAFE_ZONE, np.zeros(2)) for node in range(2)])
    for _ in range(5):
        version_now = coordinator.answer.as_of
        coordinator.receive(
            Violation(0, version_now, ViolationKind.NEIGHBOURHOOD, np.array([1.5, 0.0])),
            Violation(1, version_now, ViolationKind.NEIGHBOURHOOD, np.array([-1.5, 0.0])),
        )
    assert 1.0 == coordinator.radius
    version_now = coordinator.answer.as_of
    coordinator.receive(
        Violation(0, version_now, ViolationKind.NEIGHBOURHOOD, np.array([1.5, 0.0])),
        Violation(1, version_now, ViolationKind.NEIGHBOURHOOD, np.array([-1.5, 0.0])),
    )
    assert 2.0 == coordinator.radius


def test_a_restarted_coordinator_goes_on_with_later_versions() -> None:
    """From its saved state the coordinator asks everybody, and its constraints replace all that were sent before."""
    coordinator, nodes = begun(3)
    saved = coordinator.state
    (violation,) = nodes[0].update(np.array([0.0, 9.0]))
    outbox = coordinator.receive(violation.message)  # goes on after the checkpoint, and dies
    for _ in range(2):
        replies = [reply.message for envelope in outbox for reply in nodes[envelope.to].receive(envelope.message)]
        outbox = coordinator.receive(*replies) if replies else []
    again = Coordinator.from_state(saved, SADDLE, 0.5)
    outbox = again.restart()
    while outbox:
        replies = [reply.message for envelope in outbox for reply in nodes[envelope.to].receive(envelope.message)]
        outbox = again.receive(*replies) if replies else []
    assert 9.0 == again.answer.value
    assert generation(again.answer.as_of) > generation(coordinator.answer.as_of)
    assert {again.answer.as_of} == {node.state.version for node in nodes}


class Schedule(RuleBasedStateMachine):
    """Nodes come, go and move; messages wait, swap, are repeated and lost; then all is delivered."""

    MOST_NODES = 6
    BOUND = 0.5

    @initialize(nodes=st.integers(1, 4), sync=st.sampled_from(["eager", "lazy-random", "lazy-lru"]))
    def begin(self, nodes: int, sync: str) -> None:
        self.coordinator = Coordinator(SADDLE, nodes, self.BOUND, sync=sync)  # type: ignore[arg-type]
        self.nodes = {index: Node(index, SADDLE) for index in range(nodes)}
        self.network: list[Envelope] = []
        self.is_lossy = False
        self.last_version = 0
        for node in self.nodes.values():
            self.network += node.update(np.zeros(2))

    def deliver(self, envelope: Envelope) -> None:
        if envelope.to == COORDINATOR:
            self.network += self.coordinator.receive(envelope.message)
        elif envelope.to in self.nodes:
            self.network += self.nodes[envelope.to].receive(envelope.message)

    @rule(data=st.data(), x=far_points)
    def move(self, data: st.DataObject, x: np.ndarray) -> None:
        if self.nodes:
            node = data.draw(st.sampled_from(sorted(self.nodes)))
            self.network += self.nodes[node].update(x)

    @rule(data=st.data(), repeat=st.booleans())
    def arrive(self, data: st.DataObject, repeat: bool) -> None:
        if self.network:
            at = data.draw(st.integers(0, len(self.network) - 1))
            self.deliver(self.network[at] if repeat else self.network.pop(at))

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.network:
            self.network.pop(data.draw(st.integers(0, len(self.network) - 1)))
            self.is_lossy = True

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.nodes)))
        del self.nodes[node]
        self.network = [each for each in self.network if getattr(each.message, "node", each.to) != node]
        self.network += self.coordinator.lost(node)

    @rule(node=st.integers(0, MOST_NODES - 1), x=far_points)
    def come(self, node: int, x: np.ndarray) -> None:
        if node not in self.nodes:
            self.nodes[node] = Node(node, SADDLE)
            self.network += self.coordinator.join(node)
            self.network += self.nodes[node].update(x)

    @rule()
    def restart(self) -> None:
        self.coordinator = Coordinator.from_state(self.coordinator.state, SADDLE, self.BOUND)
        self.network += self.coordinator.restart()

    @rule()
    def settle(self) -> None:
        """Delivers everything and checks the law; after a loss second requests, repeats and heartbeats come first."""
        for _ in range(100):
            for _ in range(2000):
                if self.network:
                    self.deliver(self.network.pop(0))
            assert not self.network, "the schedule does not come to rest"
            if not self.is_lossy:
                break
            for node in self.nodes.values():
                assert node.state.vector is not None
                self.network += node.update(node.state.vector)
                self.network += self.coordinator.heard(node.state.index, node.state.version)
            self.network += self.coordinator.resend()
            self.is_lossy = bool(self.network)
        answer = self.coordinator.answer
        assert answer.is_quiescent
        assert (len(self.nodes), 0) == (answer.live, answer.stale)
        mean = np.mean([node.state.vector for node in self.nodes.values()], axis=0)
        assert abs(SADDLE.value(mean) - answer.value) <= answer.bound + 1e-9
        assert np.allclose(self.coordinator.slack_sum, 0, atol=1e-9)
        assert {node.state.version for node in self.nodes.values()} <= set(self.coordinator.state["versions"].tolist())

    @invariant()
    def versions_only_grow(self) -> None:
        assert self.coordinator.answer.as_of >= self.last_version
        self.last_version = self.coordinator.answer.as_of

    def teardown(self) -> None:
        if hasattr(self, "coordinator"):
            self.settle()


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
