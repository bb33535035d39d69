"""The picture of a history: what is in it, that it stays readable, and that nothing in a history makes it fail."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_history import BEGAN, FULL, made_history

from heflwr.flower.entry import LOST, Entry
from heflwr.flower.history.ledger import History
from heflwr.flower.history.timeline import bars, spans

pytest.importorskip("matplotlib")


def words(history: History, folder: Path) -> list[str]:
    """Return every text of the picture."""
    history.plot(folder / "run.svg")
    return re.findall("<!-- (.*?) -->", (folder / "run.svg").read_text())


def test_a_png_with_something_in_it_comes_out(tmp_path: Path) -> None:
    """In a directory that was not there, and large enough to read."""
    from matplotlib import image

    made_history().plot(tmp_path / "new" / "run.png")
    data = image.imread(tmp_path / "new" / "run.png")
    height, width = data.shape[:2]
    assert width > 1000
    assert height > 500
    assert len(set((data[..., :3] @ (1, 1 << 8, 1 << 16)).ravel().tolist())) > 50


def test_every_part_has_its_title_and_unit(tmp_path: Path) -> None:
    """A row a node in the order of their numbers, the rounds by number, and what the colours mean."""
    drawn = words(made_history(), tmp_path)
    for word in ("Calls, by round", "CPU time", "Memory peak", "Energy", "MiB", "J, rounds light to dark", "train"):
        assert word in drawn
    assert "Accuracy against cost (evaluate replies' accuracy)" in drawn
    assert "energy of all calls so far, J" in drawn
    assert "median of all 10 nodes" in drawn
    rows = [word for word in drawn[: drawn.index("node")] if word.isdecimal()]
    assert [str(node) for node in range(10)] == rows[-10:]
    assert "round 1" in drawn
    assert {"2", "3", "4", "5"} <= set(drawn)


def test_what_nobody_measured_is_left_out(tmp_path: Path) -> None:
    """No energy: accuracy is drawn against CPU time. No accuracy: no curve. Nothing at all: only the timeline."""
    drawn = words(made_history(energy=False), tmp_path)
    assert "Energy" not in drawn
    assert "CPU time of all calls so far, s" in drawn
    drawn = words(made_history(accuracy=False), tmp_path)
    assert not [word for word in drawn if word.startswith("Accuracy")]
    bare = History()
    bare.add(Entry(1, "1", 1, "train", BEGAN, BEGAN + 1))
    drawn = words(bare, tmp_path)
    assert "Calls, by round" in drawn
    assert not {"CPU time", "Memory peak", "Energy"} & set(drawn)


def test_of_many_nodes_the_slowest_are_shown(tmp_path: Path) -> None:
    """Forty of a thousand, said so beside them; and the slowest is among them."""
    history = made_history(1000, 2)
    drawn = words(history, tmp_path)
    assert "the 40 slowest of 1000 nodes" in drawn
    assert history.summary()["slowest_name"] in drawn


def test_many_rounds_stay_readable(tmp_path: Path) -> None:
    """Not every round is named."""
    drawn = words(made_history(2, 200, workers=2), tmp_path)
    numbers = [int(word) for word in drawn if word.isdecimal() and int(word) > 100]
    assert 3 <= len(set(numbers)) <= 16


def test_names_from_elsewhere_cannot_spoil_it(tmp_path: Path) -> None:
    """Formulas, lines, length, letters of other kinds of messages: all is shown as text."""
    history = History()
    for node, name in enumerate(("$x", "two\nlines", "_hidden", "x" * 500, "$\\frac{", "")):
        history.add(replace(FULL, node=node, name=name, kind=f"query.{name}", metrics={"$acc": 0.5}))
    drawn = words(history, tmp_path)
    assert any(word.startswith("...x") for word in drawn)
    assert "two lines" in drawn
    assert 20 >= max(len(word) for word in drawn if "xxx" in word)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(1, "1", 1, "train", BEGAN, status=LOST),
        Entry(1, "1", 0, "train", BEGAN, BEGAN),
        FULL,
        replace(FULL, cost=dict.fromkeys(FULL.cost, math.nan)),
        replace(FULL, cost=dict.fromkeys(FULL.cost, 0.0), started=math.nan, received=math.inf),
        replace(FULL, cost={"seconds": 1e9, "cpu_seconds": 1e9, "energy_joules": 1e15, "memory_peak_bytes": 1e15}),
        replace(FULL, kind="evaluate", metrics={"accuracy": 0.0}, cost={"cpu_seconds": 0.0}),
    ],
)
def test_a_single_message_of_any_sort_can_be_drawn(entry: Entry, tmp_path: Path) -> None:
    """Lost, without a round, NaN, nothing, too much."""
    history = History()
    history.add(entry)
    assert "Calls, by round" in words(history, tmp_path)


IMPOSSIBLE = (1e308, -1e308, -2e9, 1e19, math.inf, -math.inf, math.nan)
GOOD = Entry(9, "9", 1, "evaluate", BEGAN, BEGAN + 1, metrics={"accuracy": 0.5})
CALL = replace(GOOD, started=BEGAN, cost={"seconds": 1.0})
ALL_COSTS = made_history(1, 1).entries[0].cost


@pytest.mark.parametrize(
    ("without", "spoilt", "left_out"),
    [
        (GOOD, [replace(GOOD, cost=dict.fromkeys(ALL_COSTS, value)) for value in IMPOSSIBLE], "28 impossible numbers"),
        (
            replace(GOOD, metrics={}),
            [replace(GOOD, metrics={"accuracy": value}) for value in IMPOSSIBLE],
            "7 impossible numbers",
        ),
        (GOOD, [replace(GOOD, metrics={"accuracy": 0.5, "num-examples": value}) for value in IMPOSSIBLE], ""),
        (CALL, [replace(CALL, started=value) for value in IMPOSSIBLE], ""),
        (replace(GOOD, sent=math.nan), [replace(GOOD, sent=value) for value in IMPOSSIBLE], "7 impossible times"),
        (replace(GOOD, received=None), [replace(GOOD, received=value) for value in IMPOSSIBLE], "7 impossible times"),
    ],
    ids=["cost", "accuracy", "examples", "started", "sent", "received"],
)
def test_impossible_numbers_leave_the_rest_as_it_was(
    without: Entry, spoilt: list[Entry], left_out: str, tmp_path: Path
) -> None:
    """Whatever clients say, every scale and word is that of a run in which they had not said it, and that is told."""
    plain, history = made_history(3, 2), made_history(3, 2)
    for entry in spoilt:
        plain.add(without)
        history.add(entry)
    drawn, expected = words(history, tmp_path), words(plain, tmp_path)
    assert [word for word in expected if "left out" not in word] == [word for word in drawn if "left out" not in word]
    told = "".join(word for word in drawn if "left out" in word)
    assert told.startswith(f"left out: {left_out}") if left_out else not told


def test_impossible_rounds_and_scores_are_not_drawn(tmp_path: Path) -> None:
    """A round before all others or beyond counting, an accuracy that is none: the curve is that of the others."""
    plain, history = made_history(3, 2), made_history(3, 2)
    for one in (plain, history):
        one.note(1, accuracy=0.5)
        one.note(2, accuracy=0.6)
    for number in (-5, 10**30):
        history.note(number, accuracy=0.5)
    for place, value in enumerate(IMPOSSIBLE):
        history.note(3 + place, accuracy=value)
    drawn = [word for word in words(history, tmp_path) if "left out" not in word]
    assert words(plain, tmp_path) == drawn


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e15])
def test_numbers_at_the_edge_of_the_possible_can_be_drawn(value: float, tmp_path: Path) -> None:
    """Nothing, next to nothing and thirty million years."""
    history = made_history(2, 1)
    history.add(replace(GOOD, started=BEGAN, cost=dict.fromkeys(ALL_COSTS, value), metrics={"accuracy": 5e-324}))
    history.note(0, accuracy=-100.0)
    assert "Energy" in words(history, tmp_path)


def test_what_was_left_out_is_counted(tmp_path: Path) -> None:
    """Numbers and times apart, in a line below the title; a plausible run has no such line."""
    assert not [word for word in words(made_history(2, 1), tmp_path) if "left out" in word]
    history = made_history(2, 1)
    history.add(Entry(1, "1", 1, "train", 1e308, -1.0, cost={"energy_joules": -3.0, "cpu_seconds": 1e308}))
    assert "left out: 2 impossible numbers, 2 impossible times" in words(history, tmp_path)


def test_a_run_of_impossible_times_has_an_empty_timeline(tmp_path: Path) -> None:
    """What it cost is drawn all the same."""
    history = History()
    history.add(Entry(1, "1", 1, "train", 1e308, cost={"cpu_seconds": 3.0}))
    drawn = words(history, tmp_path)
    assert {"Calls, by round", "CPU time"} <= set(drawn)


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_letters_that_cannot_be_drawn_do_not_stop_it(ending: str, tmp_path: Path) -> None:
    """Halves of pairs, control characters, letters that no font here has: in every place and every format."""
    history = made_history(2, 1)
    for node, name in enumerate(("\ud800", "a\x00b\x1b[2J", "_hidden", "9" * 5000, "漢字", "\u202eabc")):
        metrics = {f"{name}acc": 0.5}
        history.add(Entry(node, name, 1, name, BEGAN, BEGAN + 1, cost={"seconds": 99.0}, metrics=metrics))
        history.note(1, **metrics)
    history.plot(tmp_path / f"run.{ending}")
    assert (tmp_path / f"run.{ending}").stat().st_size > 1000


def test_many_types_of_messages_leave_room_for_the_picture(tmp_path: Path) -> None:
    """Six are named, the rest counted."""
    history = History()
    for number in range(50):
        history.add(Entry(1, "1", 1, f"query.k{number}", BEGAN, BEGAN + 1))
    drawn = words(history, tmp_path)
    assert "query.k5" in drawn
    assert "44 more" in drawn
    assert "query.k6" not in drawn


def test_nothing_to_draw_and_no_place_to_draw_it_are_told(tmp_path: Path) -> None:
    """An empty history, and a format that matplotlib does not know."""
    with pytest.raises(ValueError, match="no messages"):
        History().plot(tmp_path / "run.png")
    with pytest.raises(ValueError, match="docx"):
        made_history(2, 1).plot(tmp_path / "run.docx")


def test_pyplot_is_left_alone(tmp_path: Path) -> None:
    """A notebook's backend and figures stay as they are."""
    import matplotlib
    from matplotlib import pyplot

    backend, figures = matplotlib.get_backend(), pyplot.get_fignums()
    made_history(2, 1).plot(tmp_path / "run.png")
    assert (backend, figures) == (matplotlib.get_backend(), pyplot.get_fignums())


class TestClocks:
    @pytest.mark.parametrize(
        ("started", "seconds", "call"),
        [
            (2.0, 3.0, (2.0, 5.0)),
            (-50.0, 3.0, (0.0, 3.0)),
            (500.0, 3.0, (7.0, 10.0)),
            (8.0, 3.0, (7.0, 10.0)),
            (2.0, 30.0, (0.0, 10.0)),
            (1e308, 3.0, (7.0, 10.0)),
        ],
    )
    def test_a_call_lies_between_sending_and_receiving(
        self, started: float, seconds: float, call: tuple[float, float]
    ) -> None:
        """A client's clock that is ahead or behind moves its call no further than that."""
        entry = Entry(1, "1", 1, "train", sent=0.0, received=10.0, started=started, cost={"seconds": seconds})
        assert [call] == [bar.call for bar in bars([entry])]

    def test_a_call_of_impossible_length_is_none(self) -> None:
        """Less than nothing, and longer than the world is old: nobody knows when it was."""
        for seconds in (-1.0, 1e308):
            entry = Entry(1, "1", 1, "train", sent=0.0, received=10.0, started=2.0, cost={"seconds": seconds})
            assert [None] == [bar.call for bar in bars([entry])]

    def test_a_server_whose_clock_went_back_waited_for_nothing(self) -> None:
        """Received before sent: all of it at once."""
        entry = Entry(1, "1", 1, "train", sent=10.0, received=5.0, started=7.0, cost={"seconds": 1.0})
        (bar,) = bars([entry])
        assert (10.0, (10.0, 10.0), 10.0) == (bar.sent, bar.call, bar.received)

    def test_rounds_span_all_their_messages(self) -> None:
        """From the first sent to the last received; messages of no round are in none."""
        entries = [
            Entry(1, "1", 2, "train", 20.0, 30.0),
            Entry(1, "1", 1, "train", 0.0, 5.0),
            Entry(2, "2", 1, "evaluate", 6.0, 9.0),
            Entry(2, "2", 0, "query", 50.0, 60.0),
            Entry(3, "3", 1, "train", math.nan, 60.0),
        ]
        assert {1: (0.0, 9.0), 2: (20.0, 30.0)} == spans(bars(entries))
