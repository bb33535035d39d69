"""What heflwr.automon wants to reach, each goal beside the figure that was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .counts import OURS, Row, geometric_mean, ratios
from .speed import REFERENCE_MS

Results = dict[str, Any]

LARGE = 10_000 * 1_000
"""Nodes times rounds that the goal of the big fleet speaks of."""

NOT_HEURISTIC = ("exact", "guaranteed")


@dataclass(frozen=True)
class Goal:
    """A figure and the most that it should be; the figure is None where it was not measured."""

    name: str
    most: float
    figure: Callable[[Results], float | None]


def _worst(protocol: str) -> Callable[[Results], float | None]:
    return lambda results: max(ratios(results["rows"], protocol), default=None)


def _mean(protocol: str) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        found = ratios(results["rows"], protocol)
        return geometric_mean(found) if found else None

    return figure


def _broken(results: Results) -> float:
    """Rounds over the bound where the guarantee is more than a hope."""
    runs = [each for row in results["rows"] for each in _ours(row) if each["guarantee"] in NOT_HEURISTIC]
    return float(sum(each["rounds_over"] for each in runs))


def _past_centralization(results: Results) -> float | None:
    return max(
        ((row["auto"]["messages"] - row["nodes"]) / row["centralization"] for row in results["rows"] if "auto" in row),
        default=None,
    )


def _below_bound(results: Results) -> float:
    """Runs with fewer messages than the lower bound although they kept every round: there should be none."""
    below = 0
    for row in results["rows"]:
        for each in _ours(row):
            bound = row["filter"] if each["guarantee"] in NOT_HEURISTIC else row["info"]
            below += each["rounds_over"] == 0 and each["messages"] < bound
    return float(below)


def _ours(row: Row) -> list[dict[str, Any]]:
    return [row[name] for name in OURS if name in row]


def _syncs(kind: str) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        found = results["speed"]["syncs"][kind].get(200)
        return None if found is None else float(found["ms"]) / REFERENCE_MS[kind][200][0]

    return figure


def _first(results: Results) -> float:
    return max(float(sync["first_s"]) for syncs in results["speed"]["syncs"].values() for sync in syncs.values())


def _check(results: Results) -> float:
    return float(max(results["speed"]["checks"].values()))


def _fleet(results: Results) -> float | None:
    fleet = results["speed"]["fleets"][-1]
    return float(fleet["seconds"]) if fleet["nodes"] * fleet["rounds"] >= LARGE else None


GOALS = (
    Goal("gm: messages / reference, worst row", 1.05, _worst("gm")),
    Goal("auto: messages / reference, worst row", 0.5, _worst("auto")),
    Goal("auto: messages / reference, geometric mean", 0.25, _mean("auto")),
    Goal("rounds over the bound, exact and guaranteed runs", 0, _broken),
    Goal("auto: (messages - nodes) / centralization, worst row", 1, _past_centralization),
    Goal("runs below a lower bound", 0, _below_bound),
    Goal("full sync, KLD d=200, time / reference", 1 / 50, _syncs("KLD")),
    Goal("full sync, MLP d=200, time / reference", 1 / 50, _syncs("MLP")),
    Goal("first full sync with compiling, seconds, worst", 5, _first),
    Goal("node check at d=40, microseconds, worst", 15, _check),
    Goal("a node's memory past NumPy, KiB", 1024, lambda results: results["speed"]["node"]["kib"]),
    Goal("JAX in a node", 0, lambda results: float(results["speed"]["node"]["has_jax"])),
    Goal("10,000 nodes, d=40, 1,000 rounds, seconds", 60, _fleet),
)


def judge(results: Results) -> list[tuple[Goal, float | None, str]]:
    """Return every goal with its figure and what came of it."""
    judged = []
    for goal in GOALS:
        figure = goal.figure(results)
        reached = "not measured" if figure is None else "reached" if figure <= goal.most else "not reached"
        judged.append((goal, figure, reached))
    return judged
