"""The pull protocol: what a coordinator says of what was measured last holds, whatever becomes of its messages."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heflwr.automon import Box, Function, fleet
from heflwr.automon.answer import Answer, Guarantee
from heflwr.automon.fleet import Measure
from heflwr.automon.protocols.pull import Ask, Memory, PullCoordinator, Reply, step
from heflwr.automon.protocols.pull.choice import outline_of
from heflwr.automon.protocols.pull.polytope import Polytope
from heflwr.automon.protocols.pull.spread import Spread

LAYERS = [
    (np.array([[0.02, -0.01, 0.015], [0.01, 0.02, -0.01]]), np.array([-0.5, 0.3, 0.1])),
    (np.array([[2.0], [1.0], [-1.5]]), np.array([6.0])),
]


def _saddle() -> Measure:
    """A constant Hessian with both signs, over three metrics."""
    bend = np.array([[0.02, 0.01, 0.0], [0.01, -0.03, 0.005], [0.0, 0.005, 0.0]])
    f = Function(lambda x: 0.5 * x @ bend @ x, 3, gradient=lambda x: bend @ x, hessian=bend)
    return fleet.function(
        f, 3, vector=lambda s: [s["cpu_usage"], s["memory_usage"], s["energy"] / 10], bound=3.0, name="saddle"
    )


MEASURES: dict[str, Measure] = {
    "mean": fleet.mean("cpu_usage", bound=2.0),
    "total": fleet.total("energy", bound=300.0),
    "imbalance": fleet.imbalance("cpu_usage", bound=60.0),
    "quantile": fleet.quantile("cpu_usage", 0.7, bins=10, bound=10.0),
    "very bin": fleet.quantile("cpu_usage", 0.5, bins=4),
    "variation": fleet.coefficient_of_variation("cpu_usage", bound=0.1),
    "fairness": fleet.jain_fairness("cpu_usage", bound=0.05),
    "exhaustion": fleet.time_to_exhaustion("battery_joules", "power_vdd_in", bound=400.0),
    "stragglers": fleet.straggler_share("cpu_usage", 60.0, bound=0.1),
    "smooth maximum": fleet.smooth_max("cpu_usage", temperature=10.0, bound=4.0),
    "bottleneck": fleet.bottleneck(bound=3.0),
    "entropy": fleet.entropy("cpu_usage", edges=np.linspace(0, 100, 6), bound=0.3),
    "drift": fleet.kl_drift("cpu_usage", np.ones(5), edges=np.linspace(0, 100, 6), bound=0.3),
    "network": fleet.predicted_round_time(LAYERS, bound=0.3),
    "saddle": _saddle(),
}


def sample_of(cpu: float) -> dict[str, float]:
    return {
        "cpu_usage": cpu,
        "memory_usage": min(100.0, 20 + cpu / 2),
        "energy": 5 * cpu,
        "battery_joules": 4e4 - 50 * cpu,
        "power_vdd_in": 4e3 + 50 * cpu,
    }


class Fleet:
    """Real nodes and a real coordinator; what every node measured is known aside."""

    def __init__(self, measure: Measure, nodes: int, seed: int, lease: int = 3) -> None:
        self.measure, self.random = measure, np.random.default_rng(seed)
        self.lease = lease
        self.coordinator = self.fresh()
        self.load = self.random.uniform(10, 80, nodes)
        self.memories = {node: self.forgetful() for node in range(nodes)}
        self.truth: dict[int, np.ndarray] = {}
        self.late: list[tuple[int, Reply]] = []
        self.reports = self.replies = 0

    def fresh(self) -> PullCoordinator:
        m = self.measure
        assert m.bound is not None
        return PullCoordinator(m.function, m.bound, span=m.span, is_total=m.is_total, lease=self.lease)

    def forgetful(self) -> Memory:
        return Memory(int(self.random.integers(1, 1 << 60)))

    def call(self, node: int, ask: Ask, cpu: float) -> Reply:
        x = self.measure.vector(sample_of(cpu))
        self.memories[node], reply = step(self.memories[node], ask, x)
        self.truth[node] = x
        self.replies += 1
        self.reports += reply.vector is not None
        return reply

    def check(self, answer: Answer) -> None:
        """The answer holds for what the live nodes measured last."""
        live = self.coordinator.nodes
        assert answer.live == len(live)
        if not live:
            assert answer.value != answer.value
            return
        times = len(live) if self.measure.is_total else 1
        truth = times * self.measure.function.value(np.mean([self.truth[node] for node in live], axis=0))
        assert abs(answer.value - truth) <= answer.bound * (1 + 1e-9) + 1e-9 or answer.bound == inf


def steady(measure: Measure, *, nodes: int, rounds: int, share: float, noise: float, seed: int) -> Fleet:
    """A fleet of which a share is asked each round."""
    fleet_ = Fleet(measure, nodes, seed)
    for number in range(rounds):
        cpus = np.clip(fleet_.load + fleet_.random.normal(0, noise, nodes), 0.5, 100)
        for node in range(nodes):
            if fleet_.random.random() < share:
                fleet_.coordinator.receive(node, fleet_.call(node, fleet_.coordinator.ask(node), cpus[node]))
        fleet_.check(fleet_.coordinator.settle(number))
    return fleet_


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_every_answer_holds_for_what_was_measured_last(name: str, share: float) -> None:
    """Whatever is watched, and however few nodes a round are asked."""
    fleet_ = steady(MEASURES[name], nodes=9, rounds=60, share=share, noise=3.0, seed=5)
    assert Guarantee.HEURISTIC is not fleet_.coordinator.answer.guarantee


@pytest.mark.parametrize("name", ["mean", "exhaustion", "quantile", "network"])
def test_a_calm_fleet_is_nearly_silent(name: str) -> None:
    """After the first reports few replies carry one, and the answer is within its bound all the time."""
    fleet_ = steady(MEASURES[name], nodes=10, rounds=100, share=1.0, noise=0.6, seed=1)
    assert fleet_.reports < fleet_.replies / 5
    assert fleet_.coordinator.answer.bound <= (fleet_.measure.bound or 0.0) * (1 + 1e-9)


def test_nobody_reports_more_than_once_a_call_however_wild() -> None:
    """A hostile fleet costs what everyone reporting would, and the answer is still within the bound."""
    fleet_ = Fleet(MEASURES["mean"], 10, 3)
    for number in range(50):
        for node in range(10):
            cpu = float(fleet_.random.uniform(0.5, 100))
            fleet_.coordinator.receive(node, fleet_.call(node, fleet_.coordinator.ask(node), cpu))
        answer = fleet_.coordinator.settle(number)
        fleet_.check(answer)
        assert answer.bound <= 2.0 * (1 + 1e-9)
    assert fleet_.reports <= fleet_.replies


EVENTS = st.sampled_from(
    [*["call"] * 4, *["settle"] * 2, "lose", "late", "arrive", "twice", "fail", "leave", "forget", "restart", "jump"]
)


@pytest.mark.parametrize("name", MEASURES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_course_of_events_makes_an_answer_wrong(name: str, data: st.DataObject) -> None:
    """Replies lost, late and doubled, calls that fail, nodes that leave or forget, restarts: it holds."""
    fleet_ = Fleet(MEASURES[name], data.draw(st.integers(1, 5), "nodes"), data.draw(st.integers(0, 999), "seed"))
    nodes = st.integers(0, len(fleet_.memories) - 1)
    number = 0
    for _ in range(data.draw(st.integers(1, 45), "events")):
        event, node = data.draw(EVENTS, "event"), data.draw(nodes, "node")
        coordinator, random = fleet_.coordinator, fleet_.random
        cpu = float(np.clip(fleet_.load[node] + random.normal(0, 3), 0.5, 100))
        if event in ("call", "lose", "late", "twice"):
            reply = fleet_.call(node, coordinator.ask(node), cpu)
            if event == "lose":
                coordinator.unanswered(node)
            elif event == "late":
                fleet_.late.append((node, reply))
                coordinator.unanswered(node)
            else:
                coordinator.receive(node, reply)
                if event == "twice":
                    coordinator.receive(node, reply)
        elif event == "arrive" and fleet_.late:
            late, reply = fleet_.late.pop(0)
            is_latest = fleet_.memories[late].calls == reply.calls and fleet_.memories[late].session == reply.session
            if is_latest or late in coordinator.nodes:
                coordinator.receive(late, reply)
                if not is_latest:  # it was overtaken: its place is in doubt until the next call
                    coordinator.unanswered(late)
        elif event == "fail":
            coordinator.failed(node)
        elif event == "leave":
            coordinator.lost(node)
        elif event == "forget":
            fleet_.memories[node] = fleet_.forgetful()
        elif event == "jump":
            fleet_.load[node] = random.uniform(5, 95)
        elif event == "restart":
            state = coordinator.state
            fleet_.coordinator = fleet_.fresh()
            fleet_.coordinator.restore(state)
        elif event == "settle":
            fleet_.check(fleet_.coordinator.settle(number))
            number += 1
    fleet_.check(fleet_.coordinator.answer)


def test_what_is_not_known_widens_the_bound_and_it_comes_back() -> None:
    """A lost reply may have said anything within the metric's range; the next one tells."""
    fleet_ = steady(MEASURES["mean"], nodes=10, rounds=10, share=1.0, noise=0.1, seed=2)
    coordinator = fleet_.coordinator
    before = coordinator.answer
    fleet_.call(4, coordinator.ask(4), 99.0)
    coordinator.unanswered(4)
    doubtful = coordinator.settle(20)
    fleet_.check(doubtful)
    assert before.bound + 4.0 < doubtful.bound < before.bound + 6.0  # a tenth of half of 0 to 100
    assert (doubtful.is_quiescent, doubtful.stale) == (False, 10)
    reply = fleet_.call(4, coordinator.ask(4), 99.0)
    assert reply.vector is not None
    coordinator.receive(4, reply)
    after = coordinator.settle(21)
    fleet_.check(after)
    assert after.bound <= before.bound * (1 + 1e-9)
    assert after.is_quiescent


def test_a_node_that_owes_its_lease_is_lost_and_may_come_back() -> None:
    """The answer is of the others then; a reply makes it count again."""
    fleet_ = steady(MEASURES["mean"], nodes=3, rounds=5, share=1.0, noise=0.1, seed=2)
    coordinator = fleet_.coordinator
    for _ in range(3):
        coordinator.ask(1)
        coordinator.unanswered(1)
    answer = coordinator.settle(6)
    fleet_.check(answer)
    assert (answer.live, answer.lost, coordinator.nodes) == (2, 1, (0, 2))
    coordinator.receive(1, fleet_.call(1, coordinator.ask(1), 50.0))
    answer = coordinator.settle(7)
    fleet_.check(answer)
    assert (answer.live, answer.lost) == (3, 0)


def test_a_restarted_coordinator_hears_everybody_again() -> None:
    """Nodes do not rest on what another coordinator knew."""
    fleet_ = steady(MEASURES["mean"], nodes=6, rounds=10, share=1.0, noise=0.1, seed=2)
    state = fleet_.coordinator.state
    fleet_.coordinator = fleet_.fresh()
    fleet_.coordinator.restore(copy.deepcopy(state))
    assert fleet_.coordinator.answer.stale == 6
    fleet_.check(fleet_.coordinator.answer)
    replies = [fleet_.call(node, fleet_.coordinator.ask(node), 50.0) for node in range(6)]
    assert all(reply.vector is not None for reply in replies)
    for node, reply in enumerate(replies):
        fleet_.coordinator.receive(node, reply)
    fleet_.check(fleet_.coordinator.settle(11))
    with pytest.raises(ValueError, match="the function has 2 numbers"):
        PullCoordinator(MEASURES["imbalance"].function, 1.0).restore(state)


def test_a_reply_of_another_time_is_not_taken_for_a_present_one() -> None:
    """An overtaken one changes nothing; one that rests on a report that never came leaves its node in doubt."""
    fleet_ = steady(MEASURES["mean"], nodes=3, rounds=5, share=1.0, noise=0.1, seed=2)
    coordinator = fleet_.coordinator
    before = coordinator.settle(6)
    memory = fleet_.memories[0]
    coordinator.receive(0, Reply(memory.session, memory.calls - 1, memory.sequence + 1, 0, np.array([99.0]), True))
    assert coordinator.settle(7).value == before.value
    version = memory.version
    coordinator.receive(0, Reply(memory.session, memory.calls + 1, memory.sequence + 1, version, None))
    assert not coordinator.settle(8).is_quiescent
    assert coordinator.ask(0).session != memory.session  # so that it reports next time


def test_vectors_that_are_none_are_refused_and_counted() -> None:
    """A NaN or another shape leaves its node in doubt, and the others as they were."""
    fleet_ = steady(MEASURES["mean"], nodes=3, rounds=5, share=1.0, noise=0.1, seed=2)
    coordinator, memory = fleet_.coordinator, fleet_.memories[0]
    bad = Reply(memory.session, memory.calls + 1, memory.sequence + 1, 0, np.array([np.nan]))
    coordinator.receive(0, bad)
    coordinator.receive(1, replace(bad, vector=np.zeros(2), session=fleet_.memories[1].session))
    answer = coordinator.settle(6)
    assert (coordinator.refused, answer.is_quiescent, answer.live) == (2, False, 3)
    fleet_.check(answer)
    with pytest.raises(ValueError, match="finite"):
        step(memory, coordinator.ask(0), np.array([np.inf]))
    with pytest.raises(ValueError, match="shape"):
        step(memory, coordinator.ask(0), np.zeros(2))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), dim=st.integers(1, 5), rows=st.integers(0, 3))
def test_the_support_of_a_polytope_is_never_less_than_what_is_reached(seed: int, dim: int, rows: int) -> None:
    """Along any direction, for any drift that the zone holds."""
    random = np.random.default_rng(seed)
    zone = Polytope(random.normal(size=(rows, dim)), random.uniform(0, 1, rows), random.uniform(0, 2, dim))
    drifts = random.uniform(-1, 1, (400, dim)) * zone.reach
    inside = drifts[zone.violations(drifts) == 0]
    for direction in [*random.normal(size=(3, dim)), *zone.rows]:
        assert (inside @ direction <= zone.support(direction) + 1e-12).all()
    for row, depth in zip(zone.rows, zone.depths, strict=True):
        assert zone.support(row) <= depth + 1e-12
    for drift in drifts[:20]:
        gauge = zone.gauge(drift)
        assert (gauge <= 1) == (zone.violation(drift) is None) or abs(gauge - 1) < 1e-9


@pytest.mark.parametrize("name", MEASURES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_range_over_a_spread_holds_every_mean_in_it(name: str, seed: int) -> None:
    """Vectors of real samples, some drifted within one zone and some within another."""
    measure, random = MEASURES[name], np.random.default_rng(seed)
    outline = outline_of(measure.function)
    anchors = np.array([measure.vector(sample_of(cpu)) for cpu in random.uniform(5, 90, 6)])
    centre = anchors.mean(axis=0)
    rows, _ = outline.cuts(centre, 1.0)
    rows = np.where(np.isfinite(rows), rows, 0.0)
    reach = random.choice([0.05, 0.3, 1.0]) * np.maximum(anchors.std(axis=0), 1e-3)
    zones = [
        Polytope(rows, random.uniform(0.2, 2.0, len(rows)) * (np.abs(rows) @ reach), share * reach)
        for share in (1.0, 0.5)
    ]
    lowest, highest = outline.range(centre, Spread(((0.7, zones[0]), (0.3, zones[1])), 0.1 * reach))
    for turn in range(60):
        corner = random.uniform(-1, 1, measure.dim) if turn % 2 else random.choice([-1.0, 1.0], measure.dim)
        drifts = [corner * zone.reach for zone in zones]
        drifts = [drift / max(zone.gauge(drift), 1.0) for drift, zone in zip(drifts, zones, strict=True)]
        drift = 0.7 * drifts[0] + 0.3 * drifts[1] + 0.1 * corner * reach
        mean = centre + drift
        if name in ("variation", "fairness") and mean[1] < mean[0] ** 2:
            continue  # no fleet has it
        value = measure.function.value(mean)
        assert value != value or lowest - 1e-9 <= value <= highest + 1e-9


@pytest.mark.parametrize("name", ["variation", "fairness", "imbalance"])
def test_a_drift_along_the_slab_bends_no_further_than_the_range_says(name: str) -> None:
    """Where the gradient says that nothing changes, what is left is the bend."""
    measure = MEASURES[name]
    outline, centre = outline_of(measure.function), np.array([50.0, 4000.0])
    rows, _ = outline.cuts(centre, 1.0)
    along = np.array([1.0, -rows[0][0] / rows[0][1]])
    zone = Polytope(rows, np.full(2, 1e-6), np.array([12.0, inf]))
    lowest, highest = outline.range(centre, Spread.of(zone))
    for drift in np.linspace(-12, 12, 25)[:, None] * along:
        assert zone.violation(drift) is None
        assert lowest <= measure.function.value(centre + drift) <= highest


def test_a_function_without_a_proof_is_called_heuristic() -> None:
    """Where only a search bounds the bend, the answer says so."""
    bend = Function(
        lambda x: float(np.sin(x[0]) * x[1]),
        2,
        gradient=lambda x: np.array([np.cos(x[0]) * x[1], np.sin(x[0])]),
        hessian=lambda x: np.array([[-np.sin(x[0]) * x[1], np.cos(x[0])], [np.cos(x[0]), 0.0]]),
    )
    coordinator = PullCoordinator(bend, 0.5)
    for node in range(3):
        coordinator.receive(node, Reply(7, 1, 1, 0, np.array([0.5 + node / 10, 1.0]), is_exact=True))
    answer = coordinator.settle(1)
    assert answer.guarantee is Guarantee.HEURISTIC
    assert answer.bound == 0.0
    assert coordinator.ask(0).zone is not None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: PullCoordinator(f, 0.0), "error_bound must be > 0"),
        (lambda f: PullCoordinator(f, 1.0, lease=0), "lease must be >= 1"),
        (lambda f: PullCoordinator(f, 1.0, span=Box(np.zeros(2), np.ones(2))), "span must have 1 coordinates"),
    ],
)
def test_wrong_arguments_are_told_at_the_door(make: Callable[[Function], object], message: str) -> None:
    """With the value and what it should be."""
    with pytest.raises(ValueError, match=message):
        make(MEASURES["mean"].function)
