"""Every protocol under random schedules: whenever all is quiet, the answer is as good as it says."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from heflwr.automon.box import Box
from heflwr.automon.checkpoint import arrays_from_bytes, arrays_to_bytes, node_from_arrays, node_to_arrays
from heflwr.automon.codec import encode
from heflwr.automon.coordinator import Coordinator, Protocol
from heflwr.automon.function import Function
from heflwr.automon.messages import COORDINATOR, Report, Request, Vector, Violation, ViolationKind
from heflwr.automon.protocols.node import Node
from heflwr.automon.transports.memory import MemoryNetwork
from heflwr.automon.zones.slab import SlabZone

SADDLE_HESSIAN = np.diag([-2.0, 2.0])
SADDLE = Function(lambda x: x[1] ** 2 - x[0] ** 2, 2, gradient=lambda x: SADDLE_HESSIAN @ x, hessian=SADDLE_HESSIAN)
CUBES = Function(
    lambda x: (x[0] ** 3 + x[1] ** 3) / 6,
    2,
    Box(np.full(2, -3.0), np.full(2, 3.0)),
    gradient=lambda x: x**2 / 2,
    hessian=np.diag,
)
"""Its eigenvalues are the coordinates: their extremes over a box are at its border, where no search misses them."""


@dataclass(frozen=True)
class Case:
    """A function, a coordinator's options, and what the schedules must not do to it."""

    function: Function
    options: dict[str, Any]
    fixed: dict[str, Any] = field(default_factory=dict)
    """Options that a coordinator's state brings along itself."""
    is_ordered: bool = False
    """Whether the bound is only promised where messages between two arrive in order, and after every node's update."""
    bound: float = 0.5
    protocol: Protocol = "gm"


CASES = {
    "lazy-lru": Case(SADDLE, {"sync": "lazy-lru"}),
    "lazy-random": Case(SADDLE, {"sync": "lazy-random"}),
    "eager": Case(SADDLE, {"sync": "eager"}),
    "without slack": Case(SADDLE, {"sync": "eager", "slack": False}, is_ordered=True),
    "curved": Case(CUBES, {"sync": "lazy-lru"}),
    "curved, near": Case(CUBES, {"sync": "lazy-lru"}, {"radius": 0.5}),
    "one-way": Case(SADDLE, {}, protocol="oneway"),
    "one-way, curved": Case(CUBES, {}, protocol="oneway"),
    "curved, without slack": Case(CUBES, {"sync": "eager", "slack": False}, {"radius": 1.0}, is_ordered=True),
}

EXAMPLES = int(os.environ.get("HEFLWR_SCHEDULES", "60"))
"""Schedules a case; more for a night."""

PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink]
"""All but to explain a failure, which takes many more runs and says nothing about a schedule."""

MOST_NODES = 6
points = st.tuples(*[st.sampled_from([-3.0, -1.5, -0.7, -0.2, 0.0, 0.2, 0.7, 1.5, 3.0])] * 2).map(np.array)
indices = st.integers(0, MOST_NODES - 1)


class Schedule(RuleBasedStateMachine):
    """Nodes move, come, crash and fall silent; messages wait, swap, are repeated, lost and forged; all restarts."""

    case: Case

    @initialize(nodes=st.integers(1, 4))
    def begin(self, nodes: int) -> None:
        case = self.case
        coordinator = Coordinator(case.function, nodes, case.bound, case.protocol, **case.options, **case.fixed)
        self.nodes: dict[int, Any] = {i: Node(i, case.function) for i in range(nodes)}
        self.network = MemoryNetwork(coordinator, self.nodes)
        self.files: dict[int, bytes] = {}
        """What nodes and the coordinator saved last."""
        self.is_shaken = False
        """Whether something was lost that only heartbeats, time-outs and leases find."""
        self.last_version = 0
        for node in list(self.nodes):
            self.move_to(node, np.zeros(2))

    @property
    def coordinator(self) -> Any:
        return self.network.coordinator

    def send(self, envelopes: list[Any], sender: int = COORDINATOR) -> None:
        self.network.send(sender, envelopes)

    def move_to(self, node: int, x: np.ndarray) -> None:
        self.send(self.nodes[node].update(x), node)

    def first(self, place: int) -> int:
        """The letter at a place, or where order is kept the first one between its two ends."""
        letters = self.network.letters
        if not self.case.is_ordered:
            return place
        ends = (letters[place].sender, letters[place].to)
        return next(i for i, letter in enumerate(letters) if (letter.sender, letter.to) == ends)

    # What nodes do

    @precondition(lambda self: self.nodes)
    @rule(moves=st.lists(st.tuples(indices, points), min_size=1, max_size=MOST_NODES))
    def move(self, moves: list[tuple[int, np.ndarray]]) -> None:
        for node, x in moves:
            self.move_to(sorted(self.nodes)[node % len(self.nodes)], x)

    @precondition(lambda self: self.nodes)
    @rule(start=points, step=points, rounds=st.integers(1, 8), seed=st.integers(0, 3))
    def drift(self, start: np.ndarray, step: np.ndarray, rounds: int, seed: int) -> None:
        """All nodes move a little for a while, and what they say arrives in some order."""
        random = np.random.default_rng(seed)
        for number in range(rounds):
            for node in list(self.nodes):
                moved = start + 0.1 * number * step + 0.2 * random.standard_normal(2)
                self.move_to(node, np.clip(moved, -3.0, 3.0))
            for _ in range(3 * len(self.network.letters) // 4):
                self.network.deliver(self.first(int(random.integers(len(self.network.letters)))))

    @precondition(lambda self: self.nodes and self.case.protocol == "oneway" and self.case.function is SADDLE)
    @rule(node=indices, angle=st.floats(0, 6), length=st.sampled_from([0.05, 0.15]))
    def wander(self, node: int, angle: float, length: float) -> None:
        """One node goes to and fro in steps and is heard, until it may get a larger part of the zone."""
        node = sorted(self.nodes)[node % len(self.nodes)]
        way = length * np.array([np.cos(angle), np.sin(angle)])
        x = self.nodes[node].state.vector
        for number in range(48):
            x = np.clip(x + (way if number // 12 % 2 else -way), -3.0, 3.0)
            self.move_to(node, x)
            if number % 3 == 2:
                self.rest()

    @rule(node=st.integers(COORDINATOR, MOST_NODES - 1))
    def save(self, node: int) -> None:
        if node == COORDINATOR:
            self.files[COORDINATOR] = arrays_to_bytes(self.coordinator.state)
        elif node in self.nodes:
            self.files[node] = arrays_to_bytes(node_to_arrays(self.nodes[node].state))

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(data=st.data(), is_told=st.booleans())
    def go(self, data: st.DataObject, is_told: bool) -> None:
        """A node ends; the coordinator hears of it now, or finds out when its lease has run out."""
        node = data.draw(st.sampled_from(sorted(self.nodes)))
        del self.nodes[node]
        self.network.reconnect(node)
        self.is_shaken = True
        if is_told:
            self.send(self.coordinator.lost(node))

    @rule(node=indices, x=points, has_file=st.booleans(), is_announced=st.booleans())
    def come(self, node: int, x: np.ndarray, has_file: bool, is_announced: bool) -> None:
        """A new node, or one that was here, with what it saved or without."""
        if node in self.nodes:
            return
        function = self.case.function
        self.nodes[node] = Node(node, function)
        if has_file and node in self.files:
            state = node_from_arrays(arrays_from_bytes(self.files[node]), function)
            self.nodes[node] = Node.from_state(state, function)
        self.is_shaken = True
        if is_announced:
            self.send(self.coordinator.join(node))
        self.move_to(node, x)

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(node=indices)
    def fall_silent(self, node: int) -> None:
        """A node that lives is taken for lost: its lease has run out."""
        self.is_shaken = True
        self.send(self.coordinator.lost(sorted(self.nodes)[node % len(self.nodes)]))

    # What the network does

    @precondition(lambda self: self.network.letters)
    @rule(
        places=st.lists(st.integers(0, 99), min_size=1, max_size=9), way=st.sampled_from(["arrive", "repeat", "lose"])
    )
    def carry(self, places: list[int], way: str) -> None:
        """Some letters arrive, arrive and stay, or are lost."""
        for number in places:
            if letters := self.network.letters:
                place = self.first(number % len(letters))
                match way:
                    case "arrive":
                        self.network.deliver(place)
                    case "repeat":
                        self.network.repeat(place)
                    case "lose":
                        self.network.lose(place)
                        self.is_shaken = True

    @precondition(lambda self: self.network.letters)
    @rule()
    def arrive_together(self) -> None:
        """All that is on its way to the coordinator arrives at once."""
        places = [place for place, letter in enumerate(self.network.letters) if letter.to == COORDINATOR]
        if places:
            self.network.deliver(*places)

    @rule(
        node=indices,
        to=st.integers(COORDINATOR, MOST_NODES - 1),
        kind=st.sampled_from(["noise", "nan", "format", "index", "way", "measured", "vector"]),
        x=st.sampled_from([np.array([np.nan, 0.0]), np.array([0.0, np.inf]), np.zeros(3), np.array([0.0, 3.1])]),
        noise=st.binary(max_size=40),
    )
    def forge(self, node: int, to: int, kind: str, x: np.ndarray, noise: bytes) -> None:
        """Nonsense is measured, sent or forged: NaN, a wrong size, outside f's domain, noise, another one's index."""
        domain = self.case.function.domain
        if domain is None and x.shape == (2,) and np.isfinite(x).all():
            return
        if kind == "measured":
            if node in self.nodes:
                with pytest.raises(ValueError, match="local vector"):
                    self.nodes[node].update(x)
            return
        if kind == "vector":
            before = self.coordinator.state
            unsafe = ViolationKind.SAFE_ZONE
            for message in (Violation(node, 0, unsafe, x), Vector(node, 0, x), Report(node, 0, 9, 9, unsafe, x)):
                answers = self.coordinator.receive(message)
                if node in self.coordinator.unfit:  # too often in a row
                    self.is_shaken = True
                    self.send(answers)
                    return
                assert [] == answers
            after = self.coordinator.state
            assert all(np.array_equal(before[key], after[key], equal_nan=True) for key in before if key != "counts")
            return
        sound = encode(Violation(node, 0, ViolationKind.SAFE_ZONE, np.ones(2)))
        forged = {
            "noise": noise,
            "nan": sound[:-8] + np.array([np.nan]).tobytes(),
            "format": sound[:2] + b"\xf1" + sound[3:],
            "index": encode(Violation(MOST_NODES + node, 0, ViolationKind.SAFE_ZONE, np.ones(2))),
            "way": encode(Request(0)) if to == COORDINATOR else sound,
        }
        if to == COORDINATOR or to in self.nodes:
            before_count = self.network.malformed
            self.network.forge(node, to, forged[kind])
            self.network.deliver(len(self.network.letters) - 1)
            assert before_count + 1 == self.network.malformed

    # What the coordinator does

    @rule(is_old=st.booleans())
    def restart(self, is_old: bool) -> None:
        """It begins again from its checkpoint, just taken or old; nodes it does not know join again."""
        case = self.case
        if not (is_old and COORDINATOR in self.files):
            self.save(COORDINATOR)
        arrays = arrays_from_bytes(self.files[COORDINATOR])
        self.network.coordinator = Coordinator.from_state(
            arrays, case.function, case.bound, case.protocol, **case.options
        )
        self.network.reconnect(COORDINATOR)
        self.is_shaken = True
        outbox = self.coordinator.restart()
        self.save(COORDINATOR)  # before anybody hears of it: else a second restart would begin with the same versions
        self.send(outbox)

    @rule()
    def time_out(self) -> None:
        self.send(self.coordinator.resend())

    @rule()
    def settle(self) -> None:
        """Delivers everything and checks the law; after a shock leases, repeats and heartbeats come first."""
        for _ in range(100):
            malformed = self.network.malformed
            self.rest()
            self.is_shaken |= malformed != self.network.malformed
            if not self.is_shaken:
                break
            self.is_shaken = False
            for index in range(MOST_NODES):
                if index not in self.nodes:
                    self.send(self.coordinator.lost(index))
                else:
                    self.send(self.coordinator.join(index))
            for index, node in self.nodes.items():
                self.move_to(index, node.state.vector)
                self.send(self.coordinator.heard(index, node.state.version, node.state.sequence))
            self.send(self.coordinator.resend())
            self.is_shaken = bool(self.network.letters)
        if self.case.is_ordered:
            for index, node in self.nodes.items():
                self.move_to(index, node.state.vector)
            self.rest()
        self.check()

    def rest(self) -> None:
        for _ in range(3000):
            if self.network.letters:
                self.network.deliver()
        assert not self.network.letters, "the schedule does not come to rest"

    def check(self) -> None:
        answer = self.coordinator.answer
        assert answer.is_quiescent
        assert (len(self.nodes), 0) == (answer.live, answer.stale)
        mean = np.mean([node.state.vector for node in self.nodes.values()], axis=0)
        assert abs(self.case.function.value(mean) - answer.value) <= answer.bound + 1e-9
        for index, node in self.nodes.items():
            assert self.coordinator.state["versions"][index] == node.state.version
        self.check_weights()
        slacks = [getattr(node.state, "slack", None) for node in self.nodes.values()]
        if all(slack is not None for slack in slacks):
            assert np.allclose(np.sum(slacks, axis=0), 0, atol=1e-9)

    def check_weights(self) -> None:
        """What the nodes hold are parts of one zone, as large as the coordinator says, no more than it together."""
        zones = {index: node.state.zone for index, node in self.nodes.items()}
        if not all(isinstance(zone, SlabZone) for zone in zones.values()):
            return
        weights = self.coordinator.state["weights"][list(zones)]
        assert weights.sum() <= len(weights) * (1 + 1e-9)
        reaches = np.array([zone.reach for zone in zones.values()])
        assert np.allclose(reaches / weights, reaches[0] / weights[0])

    @invariant()
    def versions_only_grow(self) -> None:
        if hasattr(self, "network"):
            assert self.coordinator.answer.as_of >= self.last_version
            self.last_version = self.coordinator.answer.as_of

    def teardown(self) -> None:
        if hasattr(self, "network"):
            self.settle()


@pytest.mark.parametrize("name", CASES)
def test_a_quiet_fleet_knows_its_answer(name: str) -> None:
    """After any schedule, once all is quiet: the bound holds, slacks sum to zero, versions only grew, no deadlock."""
    case = CASES[name]
    machine = type("Schedule", (Schedule,), {"case": case})
    examples = EXAMPLES if case.function is SADDLE else EXAMPLES // 6  # the search for eigenvalues takes its time
    chosen = settings(max_examples=examples, stateful_step_count=40, deadline=None, phases=PHASES)
    run_state_machine_as_test(machine, settings=chosen)
