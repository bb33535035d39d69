"""The results as a picture: CPU, pace, slowdown, memory and latency, a bar a monitor, heflwr's in its own colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .candidates import CANDIDATES, ENTRIES
from .goals import MIB, Results, median, noise, quartiles

_OURS, _FLOOR, _OTHERS, _GOAL, _INK = "#0b7a75", "#9aa5b1", "#d9a441", "#c0392b", "#22303c"
_BARS_FROM = 0.01
"""Left end of the logarithmic CPU axes, milliseconds a second: a tenth of the floor at one second."""


def draw(results: Results, path: Path) -> None:
    """Draw the figures to a PNG file."""
    style = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#c5ccd3",
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(2, 3, figsize=(15, 8.2), dpi=130, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        lives = results["lives"]
        _bars(
            axes[0, 0],
            "CPU, a sample every 1 s",
            "ms per second",
            _column(results["together"], "cpu"),
            goals=(0.25, 1.0),
        )
        _bars(axes[0, 1], "CPU, a sample every 0.1 s", "ms per second", _column(lives, "cpu 0.1"), goals=(2.0, 5.0))
        _bars(axes[0, 2], "CPU, a sample every 0.01 s", "ms per second", _column(lives, "cpu 0.01"), goals=(20.0,))
        _bars(axes[1, 0], "Memory added, children included", "MiB (PSS)", _memory(lives))
        _bars(axes[1, 1], "Start and stop, one after the other", "ms", _start_and_stop(results["latencies"]))
        _slowdowns(axes[1, 2], results)
        machine = results["machine"]
        figure.suptitle("heflwr and its peers, measured in one run", x=0.01, ha="left", fontsize=15, fontweight="bold")
        figure.supxlabel(
            f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}, Python {machine['python']}; "
            "medians, whiskers: the middle half; logarithmic but for the slowdown; dashed: heflwr's goals",
            fontsize=8.5,
        )
        figure.savefig(path)
        plt.close(figure)


def _column(rows: dict[str, Any], key: str) -> dict[str, list[float]]:
    return {name: rows[name][key] for name in CANDIDATES if key in rows.get(name, {})}


def _memory(lives: dict[str, Any]) -> dict[str, list[float]]:
    return {
        name: [
            (own + children) / MIB
            for own, children in zip(lives[name]["added_process"], lives[name]["added_children"], strict=True)
        ]
        for name in CANDIDATES
        if name in lives
    }


def _start_and_stop(latencies: dict[str, Any]) -> dict[str, list[float]]:
    return {
        name: [
            (start + stop) * 1000 for start, stop in zip(latencies[name]["start"], latencies[name]["stop"], strict=True)
        ]
        for name in CANDIDATES
        if name in latencies and name != "floor"  # it sleeps through its stop: nobody would use it so
    }


def _bars(axes: Axes, title: str, unit: str, columns: dict[str, list[float]], goals: Sequence[float] = ()) -> None:
    names = [name for name, values in columns.items() if values]
    middles = [max(_BARS_FROM, median(columns[name])) for name in names]
    axes.set_xscale("log")
    axes.barh(range(len(names)), middles, color=[_colour(name) for name in names], height=0.68)
    for row, name in enumerate(names):
        first, third = (max(_BARS_FROM, value) for value in quartiles(columns[name]))
        axes.plot((first, third), (row, row), color=_INK, linewidth=1.1)
        axes.annotate(
            _short(median(columns[name])),
            (max(middles[row], third), row),
            (5, 0),
            textcoords="offset points",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    for goal in goals:
        axes.axvline(goal, color=_GOAL, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_xlim(min(middles) / 2.5, max(middles) * 4)
    _label_rows(axes, names, title, unit)


def _slowdowns(axes: Axes, results: Results) -> None:
    rows = results["slowdown"]["0.1"]
    names = list(rows)
    for row, name in enumerate(names):
        first, third = (100 * (ratio - 1) for ratio in quartiles(rows[name]["ratios"]))
        middle = 100 * (median(rows[name]["ratios"]) - 1)
        axes.plot((first, third), (row, row), color=_colour(name), linewidth=3, solid_capstyle="round", alpha=0.55)
        axes.plot(middle, row, "o", color=_colour(name), markersize=7)
        axes.annotate(f"{middle:+.2f}", (middle, row), (0, 8), textcoords="offset points", ha="center")
    spread = noise(results, "0.1")
    axes.axvspan(-spread, spread, color=_FLOOR, alpha=0.2, linewidth=0)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.axvline(1, color=_GOAL, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_ylim(len(names) - 0.5, -0.8)
    _label_rows(axes, names, "Slowdown of a computation at 0.1 s", "% longer; grey: the machine's own noise")


def _label_rows(axes: Axes, names: Sequence[str], title: str, unit: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(unit)
    axes.set_yticks(range(len(names)), [ENTRIES[name].label for name in names])
    axes.tick_params(axis="y", length=0)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _colour(name: str) -> str:
    if name in ("floor", "nothing"):
        return _FLOOR
    return _OURS if name.startswith("heflwr") else _OTHERS
