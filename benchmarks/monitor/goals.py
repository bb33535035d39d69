"""What heflwr wants to reach, each goal beside the figure that was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]

MIB = 1 << 20

DECIDED_WITHIN = 1.0
"""Percent: slowdowns are to stay below one, which a median that may be off by more cannot tell."""

_LONG_RUN = 1_000_000
"""Samples that the goals of the long run speak of; quick runs feed fewer and leave those goals alone."""


@dataclass(frozen=True)
class Goal:
    """A figure and its bound.

    Attributes:
        name: What is bounded.
        unit: Unit of figure and bound.
        bound: The bound.
        figure: Takes the figure from the results; raises KeyError where it was not measured.
        at_least: True where more is better.
        scale: From the results' unit to the shown one.
        uncertainty: How far the figure may be off by chance, in the shown unit; where that is more than
            DECIDED_WITHIN the goal is left undecided.
    """

    name: str
    unit: str
    bound: float
    figure: Callable[[Results], float]
    at_least: bool = False
    scale: float = 1.0
    uncertainty: Callable[[Results], float] | None = None


@dataclass(frozen=True)
class Verdict:
    """A goal and what came of it.

    Attributes:
        goal: The goal.
        figure: What was measured, in the goal's unit; None where it was not.
        outcome: "reached", "not reached", "not measured" or "undecided" (the machine was too noisy to tell).
    """

    goal: Goal
    figure: float | None
    outcome: str


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and third quartile; a single value is both."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def slowdown(results: Results, interval: str, name: str) -> float:
    """Return the median slowdown at an interval, percent; below zero is noise."""
    return 100 * (median(results["slowdown"][interval][name]["ratios"]) - 1)


def noise(results: Results, interval: str) -> float:
    """Return how far the ratios of runs without any monitor spread about 1: half their middle half, percent."""
    first, third = quartiles(results["slowdown"][interval]["nothing"]["ratios"])
    return 50 * (third - first)


def uncertainty(results: Results, interval: str, name: str) -> float:
    """Return how far the median slowdown may be off, percent: 1.57 interquartile ranges by the root of the pairs.

    That is the half-width of a box plot's notch, some 95 % sure (McGill, Tukey and Larsen, 1978).
    """
    ratios = results["slowdown"][interval][name]["ratios"]
    first, third = quartiles(ratios)
    return 157 * (third - first) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.inf


def _long_run(key: str) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        facts = results["million"]
        if facts["samples"] < _LONG_RUN:
            raise KeyError(key)
        return float(facts[key])

    return figure


def _reading(children: int, kind: str) -> Callable[[Results], float]:
    return lambda results: median(results["readings"][f"{children} children"][kind])


def _of_floor(results: Results) -> float:
    return _reading(0, "heflwr")(results) / _reading(0, "floor")(results)


def _life(name: str, key: str) -> Callable[[Results], float]:
    return lambda results: median(results["lives"][name][key])


def _together(name: str) -> Callable[[Results], float]:
    return lambda results: median(results["together"][name]["cpu"])


def _latency(name: str, key: str) -> Callable[[Results], float]:
    return lambda results: median(results["latencies"][name][key])


def _period_off(name: str) -> Callable[[Results], float]:
    return lambda results: 100 * abs(median(results["lives"][name]["period 0.01"]) / 0.01 - 1)


def _for_both(
    name: str, unit: str, bound: float, figure: Callable[[str], Callable[[Results], float]], **more: Any
) -> list[Goal]:
    return [
        Goal(f"{name}, {runner}", unit, bound, figure(f"heflwr-{runner}"), **more) for runner in ("thread", "process")
    ]


def _slowdown_goals(name: str, bound: float, interval: str, allowance: Callable[[Results, str], float]) -> list[Goal]:
    def goal(runner: str) -> Goal:
        candidate = f"heflwr-{runner}"
        return Goal(
            f"{name}, {runner}",
            "%",
            bound,
            lambda results: slowdown(results, interval, candidate) - allowance(results, interval),
            uncertainty=lambda results: uncertainty(results, interval, candidate),
        )

    return [goal("thread"), goal("process")]


GOALS: tuple[Goal, ...] = (
    Goal("one reading, own process, against the floor", "x", 2.0, _of_floor),
    Goal("one reading with 10 children", "us", 150.0, _reading(10, "heflwr, looking for children")),
    Goal("CPU at 1 s, thread", "ms/s", 0.25, _together("heflwr-thread")),
    Goal("CPU at 0.1 s, thread", "ms/s", 2.0, _life("heflwr-thread", "cpu 0.1")),
    Goal("CPU at 0.01 s, thread", "ms/s", 20.0, _life("heflwr-thread", "cpu 0.01")),
    Goal("CPU at 1 s, process", "ms/s", 1.0, _together("heflwr-process")),
    Goal("CPU at 0.1 s, process", "ms/s", 5.0, _life("heflwr-process", "cpu 0.1")),
    Goal("memory of the agent (PSS)", "MiB", 16.0, _life("heflwr-process", "added_children"), scale=1 / MIB),
    *_slowdown_goals("slowdown at 1 s beyond the noise", 0.0, "1", noise),
    *_slowdown_goals("slowdown at 0.1 s", 1.0, "0.1", lambda results, interval: 0.0),
    Goal("import heflwr.monitor", "s", 0.1, lambda results: median(results["imports"]["heflwr-thread"]["seconds"])),
    Goal("start(), thread", "ms", 10.0, _latency("heflwr-thread", "start"), scale=1000),
    Goal("start(), process", "ms", 250.0, _latency("heflwr-process", "start"), scale=1000),
    Goal("first sample after the call of start(), thread", "ms", 50.0, _latency("heflwr-thread", "first"), scale=1000),
    Goal(
        "first sample after the call of start(), process", "ms", 300.0, _latency("heflwr-process", "first"), scale=1000
    ),
    *_for_both("stop()", "ms", 100.0, lambda name: _latency(name, "stop"), scale=1000),
    *_for_both("samples a second at 0.01 s", "1/s", 98.0, lambda name: _life(name, "samples 0.01"), at_least=True),
    *_for_both("mean period at 0.01 s, off by", "%", 0.1, _period_off),
    *_for_both("p99 jitter at 0.01 s", "ms", 3.0, lambda name: _life(name, "jitter 0.01"), scale=1000),
    Goal("memory of the long run's history", "MiB", 100.0, _long_run("bytes"), scale=1 / MIB),
    Goal("relative error of the long run's summary", "", 1e-12, _long_run("worst_error")),
)


def judge(results: Results) -> list[Verdict]:
    """Hold every goal against the results."""
    verdicts = []
    for goal in GOALS:
        try:
            figure = goal.figure(results) * goal.scale
        except KeyError:
            verdicts.append(Verdict(goal, None, "not measured"))
            continue
        if goal.uncertainty is not None and goal.uncertainty(results) > DECIDED_WITHIN:
            outcome = "undecided"
        else:
            outcome = "reached" if (figure >= goal.bound if goal.at_least else figure <= goal.bound) else "not reached"
        verdicts.append(Verdict(goal, figure, outcome))
    return verdicts
