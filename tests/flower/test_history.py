"""A history while it grows: it takes messages from any thread, tells listeners, and counts what fails."""

from __future__ import annotations

import copy
import gc
import logging
import math
import pickle
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from made_history import BEGAN, FULL, made_history

from heflwr.flower.cost import NAMES
from heflwr.flower.entry import ERROR, LOST, Entry
from heflwr.flower.history.ledger import History, Overhead


def entry(node: int = 1, round: int = 1, kind: str = "train", **cost: float) -> Entry:
    return Entry(node, str(node), round, kind, sent=BEGAN, received=BEGAN + 1, cost=cost)


class Counting(Mapping[str, float]):
    """Numbers that count how often somebody looks."""

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self.numbers = numbers
        self.looks = 0

    def __getitem__(self, name: str) -> float:
        self.looks += 1
        return self.numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def test_entries_come_out_in_the_order_in_which_they_went_in() -> None:
    """Also as records, a row a message with its metrics."""
    history = History()
    history.add(FULL)
    history.add(entry())
    assert (FULL, entry()) == history.entries
    assert [FULL.record(), entry().record()] == history.records()
    assert 2 / 3 == history.records()[0]["metric.loss"]


def test_listeners_hear_every_message_and_may_use_the_history() -> None:
    """A callback sees the message already counted, and a later listener hears only what comes later."""
    history = History()
    heard: list[tuple[Entry, int]] = []
    history.add(entry(1))
    history.listen(lambda one: heard.append((one, len(history.entries))))
    history.add(entry(2))
    assert [(entry(2), 2)] == heard


def test_a_listener_that_cannot_be_called_is_refused() -> None:
    """At the door, and not at each message."""
    with pytest.raises(TypeError, match="a listener is a function of an entry, got 5"):
        History().listen(5)  # type: ignore[arg-type]


def test_a_listener_that_raises_is_counted_and_others_still_hear(caplog: pytest.LogCaptureFixture) -> None:
    """add() does not raise; the failure is in the history, and in the log once."""
    history = History()
    heard: list[Entry] = []

    def broken(_: Entry) -> None:
        raise KeyError("no such thing")

    history.listen(broken)
    history.listen(heard.append)
    with caplog.at_level(logging.WARNING, "heflwr.flower"):
        for node in range(3):
            history.add(entry(node))
    assert [0, 1, 2] == [one.node for one in heard]
    assert {"listener": 3} == history.faults
    assert "listener: KeyError: 'no such thing'" == history.last_fault
    assert 1 == len(caplog.records)
    assert {"listener": 3} == history.summary()["faults"]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


def test_faults_are_counted_by_part(caplog: pytest.LogCaptureFixture) -> None:
    """Each part is logged once; a text will do for an error, and one that cannot be printed too."""
    history = History()
    with caplog.at_level(logging.WARNING, "heflwr.flower"):
        history.fault("sink", OSError("disk full"))
        history.fault("sink", OSError("disk full"))
        history.fault("report", "from another version")
        history.fault("probe", Unspeakable())
    assert {"sink": 2, "report": 1, "probe": 1} == history.faults
    assert "probe: Unspeakable" == history.last_fault
    assert ["sink", "report", "probe"] == [record.getMessage().split()[0] for record in caplog.records]


def test_a_failure_that_says_too_much_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """An error may quote a whole message from a client: the history and the log keep 300 letters, and where it was."""
    history = History()
    try:
        raise ValueError("x" * 100_000)
    except ValueError as error:
        history.fault("report", error)
    history.fault("sink", "y" * 100_000)
    assert len("sink: ") + 300 == len(history.last_fault)
    assert [None, None] == [record.exc_info for record in caplog.records]
    first, second = (record.getMessage() for record in caplog.records)
    assert "x" * 200 in first
    assert "x" * 301 not in first
    assert "test_a_failure_that_says_too_much_is_cut" in first
    assert len(second) < 400


def test_a_history_can_be_pickled_and_copied() -> None:
    """With all that it knows, without those who listen; the copy goes on by itself."""
    history = made_history(3, 2)
    history.add(FULL)
    history.note(1, accuracy=0.5)
    history.overhead = Overhead(9.0, 5.0, 3.0, 1.0, 0.1)
    history.fault("sink", "disk full")
    history.bad_lines = 2
    history.listen(lambda _: pytest.fail("the listener came along"))
    for twin in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history)):
        assert history.entries == twin.entries
        assert (history.summary(), history.bad_lines) == (twin.summary(), twin.bad_lines)
        twin.add(entry())
        twin.note(2, accuracy=0.6)
        assert len(history.entries) + 1 == len(twin.entries)
        assert {1: {"accuracy": 0.5}} == history.scores


class TestSize:
    def test_a_message_takes_less_than_a_kilobyte(self) -> None:
        """Names and texts are kept once, as often as they come anew from a network."""
        history = History()

        def add(number: int) -> None:
            cost = {name: number + place / 7 for place, name in enumerate(NAMES[:25])}
            metrics = {"num-examples": 100.0 + number, "train_loss": number / 3}
            history.add(
                Entry(
                    node=10**18 + number % 50,
                    name=f"partition {number % 50}",
                    round=1 + number // 50,
                    kind="train",
                    sent=BEGAN + number,
                    received=BEGAN + number + 0.5,
                    bytes_sent=50_000 + number,
                    bytes_received=60_000 + number,
                    started=BEGAN + number + 0.1,
                    cost=cost,
                    metrics=metrics,
                    host=f"host-{number % 2}",
                    sources={"network": "tcp", "energy": f"rapl{number % 2}"},
                    notes=(f"no gpu on {number % 2}",),
                )
            )

        for number in range(200):
            add(number)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(200, 2200):
                add(number)
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert taken / 2000 < 1024

    def test_what_is_kept_is_what_came(self) -> None:
        """Numbers that a float cannot hold, mappings of one's own, no two entries alike: all equal, all in order."""
        odd = [
            replace(FULL, metrics={"huge": 2**60 + 1, "loss": 1.0}),
            replace(FULL, cost={"seconds": 10**400}),
            replace(FULL, cost=Counting({"seconds": 1.0})),
            replace(FULL, notes=("a", "a")),
            replace(FULL, metrics={}),
            *(replace(FULL, name=f"n{number}", metrics={f"m{number}": 1.0}) for number in range(10_050)),
        ]
        history = History()
        for one in odd:
            history.add(one)
        assert tuple(odd) == history.entries
        assert [list(one.cost) for one in odd] == [list(one.cost) for one in history.entries]
        assert repr(dict(FULL.cost)).replace("123456789", "123456789.0") == repr(history.entries[-1].cost)

    def test_a_mapping_that_its_owner_changes_later_is_kept_as_it_was(self) -> None:
        """The history has its own copy of the numbers."""
        cost = {"seconds": 1.0}
        history = History()
        history.add(replace(FULL, cost=cost))
        cost["seconds"] = 5.0
        assert {"seconds": 1.0} == history.entries[0].cost


def test_threads_add_without_losing_a_message() -> None:
    """Eight threads, their messages and faults are all there."""
    history = History()

    def work(node: int) -> None:
        for number in range(500):
            history.add(entry(node, number))
            history.fault("part", "x")

    threads = [threading.Thread(target=work, args=(node,)) for node in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 4000 == len(history.entries)
    assert {"part": 4000} == history.faults


def test_a_note_that_is_no_number_changes_nothing() -> None:
    """The other metrics of that note are not taken either."""
    history = History()
    history.note(1, accuracy=0.5)
    with pytest.raises(ValueError, match="could not convert"):
        history.note(1, loss=1.0, accuracy="high")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        history.note("1", accuracy=0.7)  # type: ignore[arg-type]
    assert {1: {"accuracy": 0.5}} == history.scores


def test_a_data_frame_has_a_row_a_message() -> None:
    """Numbers are numbers also where few or none were measured, and node ids keep all their digits."""
    pandas = pytest.importorskip("pandas")
    history = made_history(4, 3)
    history.add(FULL)
    frame = history.to_pandas()
    assert len(history.entries) == len(frame)
    assert [one.node for one in history.entries] == frame["node"].tolist()
    assert pandas.api.types.is_float_dtype(frame["gpu_usage"])
    assert math.isnan(frame["gpu_usage"].iloc[0])
    assert 2 / 3 == frame["metric.loss"].iloc[-1]
    assert FULL.notes == tuple(frame["notes"].iloc[-1])
    by_node = frame.groupby("name")["cpu_seconds"].sum()
    assert history.summary()["per_node"][10**18]["cpu_seconds"] == pytest.approx(by_node["0"])


def test_the_data_frame_of_an_empty_history_has_the_same_columns() -> None:
    """So that code over it need not ask first."""
    pytest.importorskip("pandas")
    some, none = History(), History()
    some.add(entry())
    assert list(some.to_pandas().columns) == list(none.to_pandas().columns)
    assert 0 == len(none.to_pandas())


@pytest.mark.parametrize(
    ("package", "code", "extra"),
    [
        ("pandas", "history.to_pandas()", "heflwr[pandas]"),
        ("pyarrow", "history.save('history.parquet')", "heflwr[parquet]"),
        ("matplotlib", "history.plot('history.png')", "heflwr[plot]"),
    ],
)
def test_a_missing_package_is_told_with_the_extra_that_brings_it(
    package: str, code: str, extra: str, tmp_path: object
) -> None:
    """ImportError, and nothing is left behind; everything else works without."""
    script = f"""
import os, sys
sys.modules[{package!r}] = None
from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History
history = History()
history.add(Entry(1, "1", 1, "train", 0.0, 1.0))
history.summary(), history.save("history.jsonl"), history.save("history.csv")
try:
    {code}
except ImportError as error:
    print(error, sorted(os.listdir()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=str(tmp_path), capture_output=True, text=True, check=True, timeout=60
    )
    assert f"pip install '{extra}' ['history.csv', 'history.jsonl']" in done.stdout


class TestRank:
    def test_the_cheapest_comes_first_and_the_unknown_before_it(self) -> None:
        """Means over calls; a node never asked comes before one that was asked in vain."""
        history = History()
        for one in (
            entry(1, energy_joules=10.0),
            entry(1, 2, energy_joules=30.0),
            entry(2, energy_joules=5.0),
            Entry(3, "3", 1, "train", BEGAN, status=LOST),
            Entry(4, "4", 1, "train", BEGAN, BEGAN + 1, status=ERROR),
            Entry(4, "4", 2, "train", BEGAN, BEGAN + 1, status=ERROR),
            entry(2, 1, "evaluate", energy_joules=1000.0),
        ):
            history.add(one)
        assert [(3, None), (4, None), (2, 5.0), (1, 20.0)] == history.rank("energy")
        assert history.rank("energy") == history.rank("energy_joules")
        assert [(9, None), (4, None), (1, 20.0)] == history.rank("energy", nodes=[1, 4, 9])
        assert (1, 30.0) == history.rank("energy", last=1)[-1]
        assert (2, 1000.0) == history.rank("energy", kind="evaluate")[-1]

    def test_short_words_stand_for_columns(self) -> None:
        """The network is what went in and out; a call that measured one way counts with that."""
        history = History()
        history.add(entry(1, network_bytes_sent=3.0, network_bytes_recv=4.0, cpu_seconds=2.0, memory_peak_bytes=9.0))
        history.add(entry(1, network_bytes_sent=1.0, cpu_seconds=4.0, memory_peak_bytes=11.0, seconds=8.0))
        found = {word: history.rank(word)[0][1] for word in ("network", "cpu", "memory", "seconds")}
        assert {"network": 4.0, "cpu": 3.0, "memory": 10.0, "seconds": 8.0} == found

    def test_actions_of_a_kind_belong_to_it(self) -> None:
        """Kind "train" takes "train.warm_up" too; asked for by its whole name, it is alone."""
        history = History()
        history.add(entry(1, 1, "train.warm_up", seconds=4.0))
        history.add(entry(1, 1, "train", seconds=2.0))
        assert [(1, 3.0)] == history.rank("seconds")
        assert [(1, 4.0)] == history.rank("seconds", kind="train.warm_up")

    def test_what_cannot_be_reckoned_with_does_not_count(self) -> None:
        """NaN and infinity are as good as not measured."""
        history = History()
        history.add(entry(1, seconds=math.nan))
        history.add(entry(2, seconds=math.inf))
        history.add(entry(2, seconds=1.0))
        assert [(1, None), (2, 1.0)] == history.rank("seconds")

    @pytest.mark.parametrize("last", [0, -1])
    def test_wrong_arguments_are_refused_with_the_choice(self, last: int) -> None:
        """An unknown metric is answered with the names that there are."""
        with pytest.raises(ValueError, match=r"energy, cpu, .*cpu_seconds.*got 'cost'"):
            History().rank("cost")
        with pytest.raises(ValueError, match="last must be >= 1"):
            History().rank("cpu", last=last)
        with pytest.raises(TypeError, match="'str' object cannot be interpreted as an integer"):
            History().rank("cpu", last=str(last))  # type: ignore[arg-type]

    @pytest.mark.parametrize("last", [None, 5])
    @pytest.mark.parametrize("metric", ["cpu", "energy"])
    def test_asked_in_every_round_it_looks_at_each_message_once(self, metric: str, last: int | None) -> None:
        """Also where nobody ever measures what is asked for; and the answers are those of a history asked once."""
        history = History()
        costs = []
        for number in range(1, 41):
            for node in range(10):
                costs.append(Counting({"cpu_seconds": float((node * 7 + number * 3) % 11)}))
                history.add(replace(entry(node, number), cost=costs[-1]))
            asked = history.rank(metric, last=last)
        once = History()
        for one in history.entries:
            once.add(one)
        assert max(cost.looks for cost in costs) == 1
        assert once.rank(metric, last=last) == asked
        assert once.rank(metric, last=last, nodes=[3, 4]) == [one for one in asked if one[0] in (3, 4)]

    @pytest.mark.timeout(30)
    def test_nodes_may_come_from_the_history_itself(self) -> None:
        """A generator that asks the history for each node is no deadlock."""
        history = History()
        history.add(entry(1, seconds=1.0))
        nodes = (node for node in (1, 2) if len(history.entries) >= node)
        assert [(1, 1.0)] == history.rank("seconds", nodes=nodes)

    def test_many_different_questions_are_all_answered(self) -> None:
        """More than are remembered, in turn, and each again after all the others."""
        history = History()
        for number in range(1, 31):
            history.add(entry(1, number, seconds=float(number)))
            for last in range(1, 31):
                latest = range(max(1, number - last + 1), number + 1)
                assert [(1, sum(latest) / len(latest))] == history.rank("seconds", last=last)

    def test_an_empty_history_ranks_the_nodes_it_is_given(self) -> None:
        """In their order: a strategy may ask before the first round."""
        assert [(5, None), (3, None)] == History().rank("energy", nodes=[5, 3])
        assert [] == History().rank("energy")
