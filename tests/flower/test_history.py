"""A history while it grows: it takes messages from any thread, tells listeners, and counts what fails."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import threading

import pytest
from made_history import BEGAN, FULL, made_history

from heflwr.flower.entry import ERROR, LOST, Entry
from heflwr.flower.history.ledger import History


def entry(node: int = 1, round: int = 1, kind: str = "train", **cost: float) -> Entry:
    return Entry(node, str(node), round, kind, sent=BEGAN, received=BEGAN + 1, cost=cost)


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

    def test_an_empty_history_ranks_the_nodes_it_is_given(self) -> None:
        """In their order: a strategy may ask before the first round."""
        assert [(5, None), (3, None)] == History().rank("energy", nodes=[5, 3])
        assert [] == History().rank("energy")
