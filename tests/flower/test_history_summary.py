"""The summary of a history: numbers that can be checked by hand, and no input that it fails on."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_history import BEGAN, FULL, made_history

from heflwr.flower.entry import ERROR, LOST, OK, Entry
from heflwr.flower.history.ledger import History, Overhead


def reply(
    node: int, round: int, kind: str = "train", metrics: dict[str, float] | None = None, at: float = 0.0, **cost: float
) -> Entry:
    sent = BEGAN + at
    return Entry(node, f"n{node}", round, kind, sent, sent + 10, OK, "", 100, 50, sent, cost, metrics or {})


def history_of(*entries: Entry) -> History:
    history = History()
    for entry in entries:
        history.add(entry)
    return history


def test_totals_are_sums_over_all_messages() -> None:
    """Messages with a report, an error and no answer are told apart, and bytes are the server's."""
    history = history_of(
        reply(1, 1, seconds=2.0, cpu_seconds=1.5, energy_joules=20.0, memory_peak_bytes=300.0),
        reply(2, 1, seconds=4.0, cpu_seconds=3.0, memory_peak_bytes=500.0),
        replace(reply(3, 1), status=ERROR, error="it broke", bytes_received=0),
        replace(reply(4, 1), status=LOST, received=None, bytes_received=0),
    )
    found = history.summary()
    expected = {
        "rounds": 1,
        "nodes": 4,
        "messages": 4,
        "reports": 2,
        "errors": 1,
        "lost": 1,
        "wall_seconds": 10.0,
        "call_seconds": 6.0,
        "cpu_seconds": 4.5,
        "energy_joules": 20.0,
        "memory_peak_bytes": 500.0,
        "bytes_sent": 400,
        "bytes_received": 100,
        "slowest_node": 2,
        "slowest_name": "n2",
        "straggler_ratio": 4.0 / 3.0,
        "energy_joules_per_round": 20.0,
        "accuracy": None,
        "last_fault": "",
    }
    assert expected == {name: found[name] for name in expected}
    assert found["per_node"][2]["cpu_seconds"] == 3.0
    assert found["per_node"][4] == found["per_node"][4] | {"name": "n4", "messages": 1, "lost": 1, "cpu_seconds": None}


def test_a_round_has_its_own_numbers() -> None:
    """Wall time, sums and the slowest node; energy is None where nobody measured it."""
    history = history_of(
        reply(1, 1, seconds=1.0, cpu_seconds=1.0, energy_joules=5.0),
        reply(2, 1, seconds=3.0, cpu_seconds=2.0, energy_joules=7.0),
        reply(3, 1, seconds=2.0),
        reply(1, 2, at=100.0, seconds=9.0, cpu_seconds=8.0),
        reply(1, 2, "evaluate", at=120.0, seconds=0.5, cpu_seconds=0.25),
    )
    rounds = history.summary()["per_round"]
    assert [1, 2] == list(rounds)
    assert (10.0, 3.0, 12.0) == tuple(rounds[1][name] for name in ("wall_seconds", "cpu_seconds", "energy_joules"))
    assert (2, "n2", 1.5) == tuple(rounds[1][name] for name in ("slowest_node", "slowest_name", "straggler_ratio"))
    assert (30.0, 8.25, None) == tuple(rounds[2][name] for name in ("wall_seconds", "cpu_seconds", "energy_joules"))
    assert 12.0 == history.summary()["energy_joules_per_round"]


def test_the_straggler_is_looked_for_among_nodes_with_the_same_task() -> None:
    """Many quick evaluations do not make every trainer look like a straggler."""
    history = history_of(
        *(reply(node, 1, seconds=10.0) for node in (1, 2)),
        *(reply(node, 1, "evaluate", seconds=0.1) for node in range(1, 10)),
    )
    assert 1.0 == history.summary()["per_round"][1]["straggler_ratio"]


def test_a_node_is_called_by_its_latest_name() -> None:
    """The server knows a node's partition only from its first report on."""
    lost = Entry(7, "7", 1, "train", BEGAN, status=LOST)
    history = history_of(lost, replace(reply(7, 2, seconds=1.0), name="3"), replace(lost, round=3))
    assert "3" == history.summary()["per_node"][7]["name"]
    assert "3" == history.summary()["slowest_name"]


def test_overhead_is_what_the_server_set() -> None:
    """With what no client's call used."""
    history = History()
    history.overhead = Overhead(seconds=9.0, cpu_seconds=5.0, clients_cpu_seconds=3.0)
    overhead = history.summary()["overhead"]
    assert (9.0, 5.0, 3.0, 2.0) == tuple(
        overhead[name] for name in ("seconds", "cpu_seconds", "clients_cpu_seconds", "overhead_cpu_seconds")
    )


class TestAccuracy:
    def accuracy(self, *entries: Entry, noted: dict[int, dict[str, float]] | None = None) -> Any:
        history = history_of(*entries)
        for number, metrics in (noted or {}).items():
            history.note(number, **metrics)
        return history.summary()["accuracy"]

    def test_replies_are_weighted_by_their_examples(self) -> None:
        """1 x 0.2 and 3 x 0.6 are 0.5."""
        found = self.accuracy(
            reply(1, 1, "evaluate", {"num-examples": 1.0, "accuracy": 0.2}),
            reply(2, 1, "evaluate", {"num-examples": 3.0, "accuracy": 0.6}),
        )
        assert ("accuracy", "evaluate") == (found["metric"], found["source"])
        assert {1: pytest.approx(50.0)} == found["percent_per_round"]

    def test_without_examples_all_replies_weigh_alike(self) -> None:
        """One that does not say how many is enough, and zero in all is like none said."""
        said = reply(1, 1, "evaluate", {"num-examples": 99.0, "accuracy": 0.2})
        assert 40.0 == pytest.approx(
            self.accuracy(said, reply(2, 1, "evaluate", {"accuracy": 0.6}))["percent_per_round"][1]
        )
        zeros = [reply(node, 1, "evaluate", {"num-examples": 0.0, "accuracy": 0.1 * node}) for node in (1, 3)]
        assert 20.0 == pytest.approx(self.accuracy(*zeros)["percent_per_round"][1])

    def test_evaluation_comes_before_training_and_the_server_before_both(self) -> None:
        """The first that tells an accuracy is the one that counts, for the whole run."""
        train = reply(1, 1, "train", {"accuracy": 0.9})
        evaluate = reply(1, 2, "evaluate.fine", {"accuracy": 0.8})
        assert ("train", {1: 90.0}) == self.told(self.accuracy(train, reply(1, 1, "evaluate", {"loss": 0.1})))
        assert ("evaluate", {2: 80.0}) == self.told(self.accuracy(train, evaluate))
        assert ("server", {3: 70.0}) == self.told(self.accuracy(train, evaluate, noted={3: {"accuracy": 0.7}}))
        assert ("evaluate", {2: 80.0}) == self.told(self.accuracy(train, evaluate, noted={3: {"loss": 0.7}}))

    @staticmethod
    def told(found: dict[str, Any]) -> tuple[str, dict[int, float]]:
        return found["source"], {number: round(value, 9) for number, value in found["percent_per_round"].items()}

    @pytest.mark.parametrize(
        ("names", "chosen"),
        [
            (("val_acc", "accuracy"), "accuracy"),
            (("loss", "val_acc", "test-accuracy"), "val_acc"),
            (("loss", "Test-Accuracy"), "Test-Accuracy"),
        ],
    )
    def test_the_metric_is_known_by_its_name(self, names: tuple[str, ...], chosen: str) -> None:
        """It is "accuracy", else the first that ends like it."""
        assert chosen == self.accuracy(reply(1, 1, "evaluate", dict.fromkeys(names, 0.5)))["metric"]

    def test_a_point_costs_what_was_spent_from_the_first_value_to_the_best(self) -> None:
        """What came before the first value gained nothing of it; what came after the best one either."""
        calls = [reply(1, number, cpu_seconds=10.0 * number, energy_joules=100.0) for number in range(1, 6)]
        noted = {1: {"accuracy": 0.5}, 2: {"accuracy": 0.6}, 3: {"accuracy": 0.75}, 5: {"accuracy": 0.7}}
        found = self.accuracy(*calls, noted=noted)
        assert (3, 25.0) == (found["best_round"], found["gained_points"])
        assert (20.0 + 30.0) / 25 == found["cpu_seconds_per_point"]
        assert 200.0 / 25 == found["energy_joules_per_point"]
        from_the_start = self.accuracy(*calls, noted={0: {"accuracy": 0.1}} | noted)
        assert pytest.approx((10.0 + 20.0 + 30.0) / 65) == from_the_start["cpu_seconds_per_point"]

    def test_of_equal_values_the_first_is_the_best(self) -> None:
        """What came after it gained nothing."""
        assert 2 == self.accuracy(noted={1: {"acc": 0.5}, 2: {"acc": 0.8}, 3: {"acc": 0.8}})["best_round"]

    def test_percent_are_taken_as_they_are(self) -> None:
        """Values above 1 cannot be shares."""
        found = self.accuracy(noted={1: {"acc": 50.0}, 2: {"acc": 75.0}})
        assert {1: 50.0, 2: 75.0} == found["percent_per_round"]
        assert found["cpu_seconds_per_point"] is None

    def test_a_run_that_gains_nothing_has_no_price_a_point(self) -> None:
        """Neither infinity nor an error."""
        calls = [reply(1, number, cpu_seconds=1.0) for number in (1, 2)]
        found = self.accuracy(*calls, noted={1: {"accuracy": 0.5}, 2: {"accuracy": 0.4}})
        assert (1, 0.0, None) == (found["best_round"], found["gained_points"], found["cpu_seconds_per_point"])

    @pytest.mark.parametrize("value", [1e308, -1e308, 101.0])
    def test_a_client_cannot_spoil_the_mean_with_what_is_no_accuracy(self, value: float) -> None:
        """Neither a share nor percent: the mean is that of the others."""
        replies = [reply(node, 1, "evaluate", {"accuracy": told}) for node, told in ((1, 0.5), (2, value))]
        assert {1: 50.0} == self.accuracy(*replies)["percent_per_round"]

    def test_values_that_are_no_numbers_are_left_out(self) -> None:
        """A diverged model says NaN."""
        found = self.accuracy(noted={1: {"accuracy": 0.5}, 2: {"accuracy": math.nan}, 3: {"accuracy": math.inf}})
        assert {1: 50.0} == found["percent_per_round"]
        assert self.accuracy(noted={1: {"accuracy": math.nan}}) is None


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (Entry(1, "", 0, "", math.nan),),
        (replace(reply(1, 0), received=math.inf),),
        (replace(reply(1, 1), received=BEGAN - 100),),
        (reply(1, 1, seconds=math.nan, cpu_seconds=math.inf, energy_joules=-math.inf),),
        (reply(1, 1, seconds=0.0),),
        (reply(1, 1, "evaluate", {"accuracy": math.nan, "num-examples": math.nan}),),
        (reply(1, 1, seconds=1e308), reply(2, 1, seconds=1e308), reply(3, 1, seconds=1e-300)),
        (FULL,),
    ],
)
def test_nothing_in_a_history_makes_it_fail(entries: tuple[Entry, ...]) -> None:
    """Empty, alone, NaN, before its time: what cannot be said is None, and the summary is plain enough for JSON."""
    found = history_of(*entries).summary()
    assert len(entries) == found["messages"]
    json.dumps(found)
    for value in (found["wall_seconds"], found["cpu_seconds"], found["energy_joules"]):
        assert value is None or value >= 0


@pytest.mark.parametrize("value", [1e308, -1e308, -1.0, 1e19, math.inf, math.nan])
def test_costs_that_cannot_be_count_as_not_measured(value: float) -> None:
    """Sums, peaks and the slowest node are those of the others, and ranks too."""
    columns = ("seconds", "cpu_seconds", "energy_joules", "memory_peak_bytes")
    good = reply(1, 1, **dict.fromkeys(columns, 2.0))
    history = history_of(good, reply(2, 1, **dict.fromkeys(columns, value)))
    found = history.summary()
    names = ("call_seconds", "cpu_seconds", "energy_joules", "memory_peak_bytes", "slowest_name", "straggler_ratio")
    assert (2.0, 2.0, 2.0, 2.0, "n1", 1.0) == tuple(found[name] for name in names)
    assert [(2, None), (1, 2.0)] == history.rank("cpu")


def test_memory_may_shrink() -> None:
    """A change is the one cost that may be below 0."""
    assert [(1, -5.0)] == history_of(reply(1, 1, memory_delta_bytes=-5.0)).rank("memory_delta_bytes")


def test_quotients_stay_finite() -> None:
    """A tiny median, a tiny gain: what cannot be written as a number is None."""
    history = history_of(
        *(reply(node, 1, seconds=5e-324 if node < 3 else 1e15, cpu_seconds=1e15) for node in (1, 2, 3))
    )
    history.note(0, accuracy=0.0)
    history.note(1, accuracy=5e-324)
    found = history.summary()
    assert (None, None) == (found["straggler_ratio"], found["accuracy"]["cpu_seconds_per_point"])


def test_rounds_cost_no_more_than_their_messages() -> None:
    """So many messages in fifty times as many rounds take about as long to sum up, with an accuracy for each."""

    def seconds(rounds: int) -> float:
        history = History()
        for number in range(20_000):
            history.add(reply(number % 10, 1 + number * rounds // 20_000, cpu_seconds=1.0, energy_joules=2.0))
        for number in range(rounds):
            history.note(1 + number, accuracy=1 - 1 / (number + 1))
        begun = time.process_time()
        assert rounds == len(history.summary()["accuracy"]["percent_per_round"])
        return time.process_time() - begun

    assert seconds(5000) < 6 * seconds(100)


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**20), 10**20)


@given(
    st.lists(
        st.builds(
            Entry,
            node=st.integers(0, 3),
            name=st.text(max_size=3),
            round=st.integers(-1, 3),
            kind=st.sampled_from(["train", "evaluate", "query.x", ""]),
            sent=st.floats(),
            received=st.none() | st.floats(),
            status=st.sampled_from([OK, ERROR, LOST]),
            started=st.none() | st.floats(),
            cost=st.dictionaries(st.sampled_from(["seconds", "cpu_seconds", "energy_joules", "new"]), numbers),
            metrics=st.dictionaries(st.sampled_from(["accuracy", "num-examples", "acc"]), numbers),
        ),
        max_size=6,
    )
)
def test_no_mixture_of_entries_makes_it_fail(entries: list[Entry]) -> None:
    """Whatever clients send, summary() and rank() answer."""
    history = history_of(*entries)
    found = history.summary()
    assert len(entries) == found["messages"] == sum(node["messages"] for node in found["per_node"].values())
    assert len(entries) == sum(one["messages"] for one in found["per_round"].values())
    assert {entry.node for entry in entries} == {node for node, _ in history.rank("seconds")}


def test_a_large_run_is_summed_up() -> None:
    """A thousand nodes: each is there, and the sums over nodes and rounds agree."""
    found = made_history(1000, 4).summary()
    assert (1000, 4, 8000) == (found["nodes"], found["rounds"], found["messages"])
    for name in ("cpu_seconds", "energy_joules", "call_seconds"):
        assert pytest.approx(found[name]) == sum(one[name] for one in found["per_round"].values())
        assert pytest.approx(found[name]) == sum(one[name] or 0.0 for one in found["per_node"].values())
