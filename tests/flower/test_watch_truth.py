"""The bridge against the truth: every answer of every settled round is within its bound of what the fleet measured.

The truth is f of the mean, over the nodes that count, of each one's latest local vector, logged aside by the nodes.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from watched_fleet import Sampler, WatchedFleet

from heflwr.automon import Box, Function, fleet
from heflwr.automon.answer import Guarantee
from heflwr.automon.fleet import Measure
from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.flower import records
from heflwr.flower.watch import memory, wire
from heflwr.flower.watch.wire import Absent

ROUNDED = 1 + 1e-9
"""Bounds are sums of many numbers."""

BEND = np.diag([1.0, -1.0, 2.0, 0.5])


def own(bound: float) -> Measure:
    """A function of the user's own, neither convex nor concave, of a vector of the user's own."""
    f = Function(lambda x: 0.5 * x @ BEND @ x, 4, gradient=lambda x: BEND @ x, hessian=BEND)
    return fleet.function(
        f,
        4,
        vector=lambda sample: [sample["cpu_usage"] / 100, sample["memory_usage"] / 100, sample["energy"] / 10, 1.0],
        bound=bound,
        name="own",
        span=Box(np.zeros(4), np.array([1.0, 1.0, 100.0, 1.0])),
    )


def catalogue(nodes: int) -> list[Measure]:
    return [
        fleet.mean("cpu_usage", bound=2.0),
        fleet.imbalance("memory_usage", bound=4.0),
        fleet.quantile("cpu_usage", 0.9, bins=10, bound=10.0),
        fleet.total("energy", bound=1.0 * nodes),
        fleet.jain_fairness("cpu_usage", bound=0.05),
        fleet.entropy("cpu_usage", bound=0.3),
        own(0.1),
        fleet.mean("cpu_usage", bound=1.0).smoothed(5),
        fleet.imbalance("cpu_usage", bound=20.0).smoothed(2.5),
    ]


def resources(seed: int, *, jumps: float = 0.03, noise: float = 1.0) -> Sampler:
    """Nodes at levels of their own, some noise, slow drift, now and then a jump."""

    def sample(node: int, number: int) -> dict[str, float]:
        level = np.random.default_rng([seed, node]).uniform(10, 60)
        random = np.random.default_rng([seed, node, number])
        cpu = level + random.normal(0, noise) + (30 if random.random() < jumps else 0)
        memory = level / 2 + 0.1 * number + random.normal(0, 0.2 * noise)
        return {
            "cpu_usage": float(np.clip(cpu, 0, 100)),
            "memory_usage": float(np.clip(memory, 0, 100)),
            "energy": float(5 + level / 10 + random.random()),
        }

    return sample


def is_promised(watched: WatchedFleet) -> bool:
    return all(answer.guarantee is not Guarantee.HEURISTIC for answer in watched.fleet.values())


@pytest.mark.parametrize(("nodes", "fraction", "rounds"), [(10, 1.0, 40), (30, 0.3, 40), (100, 0.1, 20)])
def test_every_answer_is_within_its_bound(nodes: int, fraction: float, rounds: int) -> None:
    """Whether all nodes are asked or a few; nodes that were not asked keep what they measured last."""
    watched = WatchedFleet(catalogue(nodes), resources(nodes), nodes)
    random = np.random.default_rng(nodes)
    ids = list(watched.local.contexts)
    known = 0
    for number in range(1, rounds + 1):
        chosen = random.choice(ids, max(1, int(fraction * nodes)), replace=False).tolist()
        watched.round(number, sorted(chosen))
        assert [] == watched.errors(), number
        known += watched.fleet["mean cpu_usage"].bound <= ROUNDED * 2.0
    assert is_promised(watched)
    assert {} == watched.fleet.faults
    assert {} == watched.grid.history.faults
    assert known >= rounds / 2
    traffic = watched.fleet.traffic
    assert rounds * max(1, int(fraction * nodes)) == traffic["mean cpu_usage"].replies
    assert traffic["mean cpu_usage"].reports < traffic["mean cpu_usage"].replies


def test_a_thousand_nodes() -> None:
    """The same laws, and silence of most of them."""
    measures = [
        fleet.mean("cpu_usage", bound=2.0),
        fleet.total("energy", bound=1000.0),
        fleet.imbalance("cpu_usage", bound=20.0),
    ]
    watched = WatchedFleet(measures, resources(1), 1000)
    for number in range(1, 5):
        watched.round(number, list(watched.local.contexts))
        assert [] == watched.errors(), number
    assert 1000 == watched.fleet["total energy"].live
    assert watched.fleet.traffic["total energy"].reports < 1500


STEP, STEP_ROUND = 30.0, 30


def stepping(node: int, number: int) -> dict[str, float]:
    """Noise of 3 percent around a level that goes up once."""
    level = 20 + node % 7 + STEP * (number > STEP_ROUND)
    return {"cpu_usage": float(level + np.random.default_rng([node, number]).normal(0, 3.0))}


def test_smoothing_saves_reports_where_load_is_noisy_and_shows_what_lasts() -> None:
    """A fifth of the reports at the same bound; a step is in the answer to 95 % after three time constants."""
    plain = fleet.mean("cpu_usage", bound=2.0)
    smoothed = plain.smoothed(5)
    watched = WatchedFleet([plain, smoothed], stepping, 10)
    known = {}
    for number in range(1, STEP_ROUND + 16):
        watched.round(number, list(watched.local.contexts))
        assert [] == watched.errors(), number
        known[number] = watched.fleet[smoothed.name], [line.traffic.reports for line in watched.fleet.lines]
    before, (of_plain, of_smoothed) = known[STEP_ROUND]
    assert 5 * of_smoothed < of_plain
    after, _ = known[STEP_ROUND + 15]
    least, most = (after.value - before.value + side * (after.bound + before.bound) for side in (-1, 1))
    assert least < 0.95 * STEP < most
    assert after.value - after.bound > before.value + before.bound


class Mishaps:
    """What can happen to a message or a node; a seeded die decides."""

    def __init__(self, watched: WatchedFleet, seed: int) -> None:
        self.watched = watched
        self.random = np.random.default_rng(seed)
        self.late: list[tuple[str, Message]] = []
        self.happened: dict[str, int] = {}
        self.joined = 0
        watched.local.spoil = self.spoil

    def die(self, name: str, chance: float) -> bool:
        hit = bool(self.random.random() < chance)
        self.happened[name] = self.happened.get(name, 0) + hit
        return hit

    def spoil(self, reply: Message) -> Message | None:
        if self.die("reply lost", 0.05):
            return None
        if self.die("reply late", 0.05):
            self.late.append((reply.metadata.reply_to_message_id, reply))
            return None
        if reply.has_content() and records.WATCH in reply.content:
            if self.die("reply garbled", 0.03):
                data = bytearray(reply.content[records.WATCH]["data"])
                data[int(self.random.integers(3))] ^= 0x55
                reply.content[records.WATCH] = ConfigRecord({"data": bytes(data)})
            if self.die("record gone", 0.03):
                reply.content = RecordDict({})
        return reply

    def before(self, nodes: list[int]) -> None:
        contexts = self.watched.local.contexts
        self.watched.nodes.failing = {node for node in nodes if self.die("app raised", 0.05)}
        for node in nodes:
            if self.die("state lost", 0.03):
                contexts[node].state = RecordDict()
        if len(contexts) > 4 and self.die("left", 0.2):
            del contexts[int(self.random.choice(list(contexts)))]
        if self.die("joined", 0.2):
            self.joined += 1
            self.watched.add(1000 + self.joined)

    def after(self) -> None:
        """Replies that nobody waited for arrive."""
        for key, reply in self.late:
            self.watched.local._ready[key] = reply
        keys = [key for key, _ in self.late]
        self.late = []
        list(self.watched.grid.pull_messages(keys))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_on_the_way(seed: int, tmp_path: Path) -> None:
    """Replies lost, late and garbled, apps that raise, states that are lost, nodes that come and go, and a new server.

    The nodes' load jumps often, so that anchors move; answers may be wide, but never wrong.
    """
    options: dict[str, Any] = {"checkpoint": tmp_path / "fleet.state", "sync": ("piggyback", "query")[seed % 2]}
    watched = WatchedFleet(catalogue(12), resources(seed, jumps=0.1, noise=2.0), 12, **options)
    mishaps = Mishaps(watched, seed)
    narrow = 0
    for number in range(1, 51):
        ids = list(watched.local.contexts)
        chosen = sorted(mishaps.random.choice(ids, max(1, len(ids) // 2), replace=False).tolist())
        mishaps.before(chosen)
        chosen = [node for node in chosen if node in watched.local.contexts]
        if mishaps.die("twice at once", 0.1):
            chosen = sorted(chosen + chosen[:2])
        if mishaps.die("restarted", 0.05) or number == 30:
            watched.start()
        watched.round(number, chosen)
        assert [] == watched.errors(), (number, mishaps.happened)
        narrow += watched.fleet["mean cpu_usage"].bound < 10
        if mishaps.die("late replies arrive", 0.5):
            mishaps.after()
            assert [] == watched.errors(), (number, mishaps.happened)
    assert all(times for name, times in mishaps.happened.items() if name != "restarted"), mishaps.happened
    assert narrow > 15
    assert {} == watched.grid.history.faults


def test_a_lost_update_is_healed() -> None:
    """One of two calls at once leaves its memory behind, whichever; the server finds out with the next message."""
    watched = WatchedFleet([fleet.mean("cpu_usage", bound=1.0)], resources(0, noise=10.0), 3)
    for number in range(1, 30):
        before = copy.deepcopy({node: context.state for node, context in watched.local.contexts.items()})
        watched.round(number, list(watched.local.contexts))
        assert [] == watched.errors()
        if number % 3 == 0:  # the round's memory is overwritten; the vector that the server got stays the latest
            for node, state in before.items():
                watched.local.contexts[node].state = state
    assert watched.fleet["mean cpu_usage"].bound <= ROUNDED


def test_a_query_does_not_tell_what_is_older_than_the_last_report() -> None:
    """A node whose memory was overwritten by an older one says that it has nothing to tell."""
    watched = WatchedFleet([fleet.mean("cpu_usage", bound=1.0)], resources(0), 1)
    watched.round(1, [100])
    fingerprint = watched.fleet.fingerprint
    data = watched.local.contexts[100].state[records.WATCH]["data"]
    (remembered,) = memory.from_bytes(data, fingerprint, [1]).functions
    for sequence, expected in ((remembered.sequence, Reply), (remembered.sequence + 10**12, Absent)):
        ask = Ask(0, None, remembered.session, sequence)
        asked = ConfigRecord({"data": b"".join(wire.asks_bytes(fingerprint, [ask]))})
        message = Message(RecordDict({records.WATCH: asked}), dst_node_id=100, message_type=records.QUERY)
        answer = watched.local.handle(copy.deepcopy(message)).content[records.WATCH]["data"]
        read = wire.read_replies(answer, fingerprint, [ask], [1])
        assert not isinstance(read, str)
        assert [expected] == [type(one) for one in read[0]]


def test_a_reply_that_comes_after_a_later_ask_is_not_the_latest() -> None:
    """The node has measured something else since, and the reply that told it is lost."""

    def sampler(node: int, number: int) -> dict[str, float]:
        return {"cpu_usage": {2: 10.0, 6: 90.0}.get(number, 50.0) if node == 100 else 50.0}

    watched = WatchedFleet([fleet.mean("cpu_usage", bound=1.0)], sampler, 2, lease=3)
    watched.round(1, [100, 101])
    late = list(watched.grid.push_messages(watched.messages([100], 2)))
    for number in range(2, 6):  # by then the reply of round 2 is given up
        watched.round(number, [101])
    watched.local.spoil = lambda reply: None if reply.metadata.src_node_id == 100 else reply
    list(watched.grid.push_messages(watched.messages([100], 6)))
    for number in range(6, 10):  # and by then that of round 6, which never comes
        watched.round(number, [101])
    assert 1 == len(list(watched.grid.pull_messages(late)))
    watched.round(10, [101])
    assert 2 == watched.fleet["mean cpu_usage"].live
    assert [] == watched.errors()


def test_messages_pushed_and_pulled_by_hand() -> None:
    """Answers are settled when the last reply of a round is there, not before."""
    watched = WatchedFleet([fleet.mean("cpu_usage", bound=1.0)], resources(3), 4)
    for number in range(1, 10):
        rounds = [settled.round for settled in watched.fleet.log]
        ids = list(watched.grid.push_messages(watched.messages(list(watched.local.contexts), number)))
        for key in ids:
            assert rounds == [settled.round for settled in watched.fleet.log]
            assert 1 == len(list(watched.grid.pull_messages([key])))
        assert number == watched.fleet.log[-1].round
        assert [] == watched.errors()
