"""Alerts: certain ones wait for the bound's proof, possible ones for its doubt, and each is called once."""

from __future__ import annotations

import math
from typing import Any

import pytest

from heflwr.automon import fleet
from heflwr.automon.alerts import Alert, Watchman
from heflwr.automon.answer import Answer, Guarantee


def answer(value: float, bound: float = 2.0, guarantee: Guarantee = Guarantee.EXACT) -> Answer:
    return Answer(value, bound, guarantee, "", 1, 3, 0, 0, True)


def test_an_answer_knows_what_its_bound_proves_and_what_it_leaves_open() -> None:
    """True, False or None, on both sides of the threshold and at it."""
    assert [answer(value).is_above(80) for value in (82.1, 82.0, 80.0, 78.1, 78.0)] == [True, None, None, None, False]
    assert [answer(value).is_below(80) for value in (82.0, 81.9, 80.0, 78.0, 77.9)] == [False, None, None, None, True]
    assert answer(1e9, math.inf).is_above(80) is None


def test_a_certain_alert_is_called_once_it_is_proved_and_again_after_it_was_over() -> None:
    """Not while the bound leaves it open."""
    heard: list[float] = []
    measure = fleet.mean("cpu_usage", bound=2.0).when(above=80, certain=True, call=lambda a: heard.append(a.value))
    watchman = Watchman(measure.alerts)
    for value in (70.0, 81.0, 83.0, 85.0, 81.0, 70.0, 90.0):
        assert watchman.look(answer(value)) == []
    assert heard == [83.0, 90.0]


def test_a_possible_alert_is_called_as_soon_as_nothing_rules_it_out() -> None:
    """Once, until it is over."""
    heard: list[float] = []
    measure = fleet.mean("cpu_usage", bound=2.0).when(below=20, possible=True, call=lambda a: heard.append(a.value))
    watchman = Watchman(measure.alerts)
    for value in (23.0, 21.0, 19.0, 23.0):
        watchman.look(answer(value))
    assert heard == [21.0]


@pytest.mark.parametrize("is_certain", [True, False])
def test_an_answer_without_a_bound_neither_begins_an_alert_nor_ends_one(is_certain: bool) -> None:
    """Before the first answer nothing is ruled out, and while one is awaited nothing is over."""
    heard: list[float] = []
    watchman = Watchman([Alert(lambda a: heard.append(a.value), above=80, certain=is_certain)])
    unknown = [answer(math.nan, math.inf), answer(85.0, math.inf), answer(0.0, math.inf)]
    for each in [*unknown, answer(70.0), *unknown, answer(85.0), *unknown, answer(86.0), answer(70.0), answer(90.0)]:
        watchman.look(each)
    assert heard == [85.0, 90.0]


def test_a_heuristic_bound_makes_nothing_certain() -> None:
    """It may be possible."""
    certain, possible = (Alert(print, above=80, certain=flag) for flag in (True, False))
    assert not certain.is_due(answer(90, guarantee=Guarantee.HEURISTIC))
    assert possible.is_due(answer(90, guarantee=Guarantee.HEURISTIC))


def test_what_a_call_raises_is_returned_and_the_others_are_called() -> None:
    """An alert of the user's must not stop a run."""
    heard: list[Answer] = []

    def broken(_: Answer) -> None:
        raise RuntimeError("no mail today")

    watchman = Watchman([Alert(broken, above=1), Alert(heard.append, above=1)])
    assert [str(error) for error in watchman.look(answer(90))] == ["no mail today"]
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "give one of above and below"),
        ({"above": 1, "below": 0}, "give one of above and below"),
        ({"above": math.inf}, "a threshold must be finite"),
        ({"above": 1, "certain": True, "possible": True}, "certain or possible, not both"),
    ],
)
def test_an_alert_that_says_too_little_or_too_much_is_refused(options: dict[str, Any], error: str) -> None:
    """At the door."""
    with pytest.raises(ValueError, match=error):
        fleet.mean("cpu_usage", bound=2.0).when(call=print, **options)
