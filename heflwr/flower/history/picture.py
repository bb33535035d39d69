"""A picture of a run: a row a node with who computed when and what it took, and below it what the model gained."""

from __future__ import annotations

import bisect
import itertools
import math
import os
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heflwr.flower.cost import is_possible
from heflwr.flower.entry import ERROR, LOST, Entry
from heflwr.flower.history import timeline
from heflwr.flower.history.learning import Accuracy, accuracy_of, impossible
from heflwr.flower.history.summary import is_moment, measured, names_of, spent_by_round, summarize
from heflwr.flower.history.timeline import Bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 40
"""More nodes than this would be lines without names: the slowest are shown."""

_MOST_SHADES = 10
"""Rounds beyond this share a shade: more could not be told apart."""

_MOST_KINDS = 6
"""In the legend; a run has two or three."""

_MOST_ROUND_NAMES = 16
_MOST_NAME_LETTERS = 18

_WIDTH_INCHES = 13.0
_ROW_INCHES = (0.17, 0.3)
"""Of one node: where there are many, where there are few."""

_LEAST_ROWS_INCHES = 2.2
_ACCURACY_INCHES = 2.5
_MARGINS_INCHES = 1.4
_DOTS_PER_INCH = 130

_KIND_COLOURS = {"train": "#2f6fb7", "evaluate": "#e07b39", "query": "#3a9a6b"}
_OTHER_COLOUR = "#8a7a3c"
_WRONG_COLOUR = "#c0243c"
_QUIET_COLOUR = "#9a9a9a"
_ACCURACY_COLOUR = "#3a9a6b"

_MEDIAN_LINE: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": (0, (4, 3))}

_APART = 0.1
"""Two words beside a curve, of its length: nearer than this they would cover each other."""

_UNITS = {
    "s": ((10_800.0, 3600.0, "h"), (300.0, 60.0, "min"), (0.0, 1.0, "s")),
    "B": (
        (2.0**40, 2.0**40, "TiB"),
        (2.0**30, 2.0**30, "GiB"),
        (2.0**20, 2.0**20, "MiB"),
        (2.0**10, 2.0**10, "KiB"),
        (0.0, 1.0, "B"),
    ),
    "J": ((1e6, 1e6, "MJ"), (1e4, 1e3, "kJ"), (0.0, 1.0, "J")),
}
"""From what value on which unit is used, and how large it is."""


@dataclass(frozen=True, slots=True)
class Column:
    """One number a node, drawn beside its row.

    Attributes:
        name: Of the cost.
        title: Above.
        unit: A key of `_UNITS`.
        is_sum: Added up over calls, a shade a round; else the highest of all calls.
        colours: A matplotlib scale for the rounds.
        width: Beside a timeline of 5.
    """

    name: str
    title: str
    unit: str
    is_sum: bool
    colours: str
    width: float = 1.5


COLUMNS = (
    Column("cpu_seconds", "CPU time", "s", True, "Blues", 1.8),
    Column("memory_peak_bytes", "Memory peak", "B", False, "Greens"),
    Column("energy_joules", "Energy", "J", True, "Oranges", 1.8),
)
"""What is drawn beside the timeline; what nobody measured is left out."""


_COSTS = (("energy_joules", "energy", "J"), ("cpu_seconds", "CPU time", "s"))
"""What the accuracy is drawn against: the first that anybody measured, else the round."""


def draw(entries: Sequence[Entry], scores: Mapping[int, Mapping[str, float]], image: str | os.PathLike[str]) -> None:
    """Draw a history (see `History.plot`).

    Args:
        entries: Its messages.
        scores: The server's own metrics by round.
        image: Where to; the ending says the format.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: The file cannot be written.
        ValueError: matplotlib does not know the format, or there is nothing to draw.
    """
    drawn = timeline.bars(entries)
    if not entries:
        raise ValueError("the history has no messages, so there is nothing to draw")
    try:
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'heflwr[plot]'") from error

    names = names_of(entries)
    nodes = timeline.slowest(entries, MOST_ROWS)
    if len(names) <= MOST_ROWS:
        nodes = sorted(names, key=lambda node: _natural(names[node]))
    columns = [column for column in COLUMNS if any(measured(entry, column.name) is not None for entry in entries)]
    accuracy = accuracy_of(entries, scores)

    rows_inches = max(_LEAST_ROWS_INCHES, len(nodes) * _ROW_INCHES[len(nodes) <= MOST_ROWS // 2])
    heights = [rows_inches, _ACCURACY_INCHES] if accuracy else [rows_inches]
    # A figure of its own, not pyplot's: neither a window nor the user's choice of a backend is touched.
    figure = Figure(figsize=(_WIDTH_INCHES, sum(heights) + _MARGINS_INCHES), layout="constrained")
    grid = figure.add_gridspec(
        len(heights), 1 + len(columns), height_ratios=heights, width_ratios=[5.0, *(one.width for one in columns)]
    )
    when = figure.add_subplot(grid[0, 0])
    handles = _draw_timeline(when, drawn, {node: row for row, node in enumerate(nodes)})
    when.set_yticks(range(len(nodes)), [_text(names[node]) for node in nodes])
    left_out = len(names) - len(nodes)
    when.set_ylabel(f"the {len(nodes)} slowest of {len(names)} nodes" if left_out else "node")
    for at, column in enumerate(columns, start=1):
        axes = figure.add_subplot(grid[0, at], sharey=when)
        _draw_column(axes, column, entries, nodes)
        axes.tick_params(labelleft=False, left=False)
    if columns:
        handles.append(Line2D([], [], **_MEDIAN_LINE, label=f"median of all {len(names)} nodes"))
    if accuracy:
        _draw_accuracy(figure.add_subplot(grid[1, :]), accuracy, entries)
    for axes in figure.axes:
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_fontsize(8.5)
        axes.yaxis.label.set_fontsize(8.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), fontsize=8.5, frameon=False)
    figure.suptitle(_title(entries, scores), fontsize=10.5, x=0.008, ha="left")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # a name in letters that the font lacks
        figure.savefig(image, dpi=_DOTS_PER_INCH)


def _draw_timeline(axes: Axes, drawn: Sequence[Bar], rows: Mapping[int, int]) -> list[Any]:
    """Draw calls, a row a node; return what explains the colours."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    origin = min((bar.sent for bar in drawn), default=0.0)
    size, unit = _unit(max((bar.received for bar in drawn), default=0.0) - origin, "s")

    def at(moment: float) -> float:
        return (moment - origin) / size

    rounds = timeline.spans(drawn)
    named = list(rounds)[:: math.ceil(len(rounds) / _MOST_ROUND_NAMES) or 1]
    for place, (number, (begun, ended)) in enumerate(rounds.items()):
        axes.axvspan(at(begun), at(ended), color="black", alpha=0.07 if place % 2 else 0.025, linewidth=0)
        if number in named:
            words = f"round {number}" if place == 0 and len(rounds) < _MOST_ROUND_NAMES else _text(str(number))
            middle = at((begun + ended) / 2)
            axes.text(middle, -0.62, words, ha="center", va="bottom", fontsize=7.5, color="dimgrey")
    kinds = dict.fromkeys(bar.entry.kind for bar in drawn)
    shown = [bar for bar in drawn if bar.entry.node in rows]
    calls: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for bar in shown:
        if bar.call is not None:
            begun, ended = bar.call
            calls.setdefault((bar.entry.kind, bar.entry.node), []).append((at(begun), (ended - begun) / size))
    for (kind, node), pieces in calls.items():
        colour = _colour(kind)
        axes.broken_barh(pieces, (rows[node] - 0.36, 0.72), facecolor=colour, edgecolor=colour, linewidth=0.4)
    axes.hlines(
        [rows[bar.entry.node] for bar in shown],
        [at(bar.sent) for bar in shown],
        [at(bar.call[0] if bar.call else bar.received) for bar in shown],
        color=_QUIET_COLOUR,
        linewidth=0.8,
    )
    named_kinds = [(_colour(kind), _text(kind)) for kind in itertools.islice(kinds, _MOST_KINDS)]
    if len(kinds) > _MOST_KINDS:
        named_kinds.append((_OTHER_COLOUR, f"{len(kinds) - _MOST_KINDS} more"))
    handles: list[Any] = [Patch(color=colour, label=_in_legend(label)) for colour, label in named_kinds]
    handles.append(Line2D([], [], color=_QUIET_COLOUR, linewidth=0.8, label="sent, not begun"))
    for status, marker, label in ((ERROR, "x", "error"), (LOST, "v", "no answer")):
        wrong = [bar for bar in shown if bar.entry.status == status]
        if wrong:
            style: dict[str, Any] = {"color": _WRONG_COLOUR, "marker": marker, "markersize": 5, "linestyle": "none"}
            axes.plot([at(bar.received) for bar in wrong], [rows[bar.entry.node] for bar in wrong], **style)
            handles.append(Line2D([], [], label=label, **style))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"time since the first message, {unit}")
    axes.set_title("Calls, by round", loc="left", fontsize=9.5, fontweight="bold", pad=14)
    axes.tick_params(axis="y", length=0)
    return handles


def _draw_column(axes: Axes, column: Column, entries: Sequence[Entry], nodes: Sequence[int]) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    rounds = sorted({entry.round for entry in entries})
    block = math.ceil(len(rounds) / _MOST_SHADES)
    shade_of = {number: place // block for place, number in enumerate(rounds)}
    shades = max(shade_of.values()) + 1 if column.is_sum else 1
    stacks: dict[int, list[float]] = {}
    for entry in entries:
        if (value := measured(entry, column.name)) is not None:
            stack = stacks.setdefault(entry.node, [0.0] * shades)
            if column.is_sum:
                stack[shade_of[entry.round]] += value
            else:
                stack[0] = max(stack[0], value)
    totals = {node: sum(stack) for node, stack in stacks.items()}
    size, unit = _unit(max(totals.values()), column.unit)
    rows = range(len(nodes))
    base = [0.0] * len(nodes)
    for shade in range(shades):
        widths = [stacks.get(node, [0.0] * shades)[shade] / size for node in nodes]
        strength = 0.35 + 0.55 * shade / (shades - 1) if shades > 1 else 0.6
        axes.barh(rows, widths, 0.72, left=base, color=colormaps[column.colours](strength), linewidth=0)
        base = [left + width for left, width in zip(base, widths, strict=True)]
    axes.axvline(statistics.median(totals.values()) / size, **_MEDIAN_LINE)
    axes.set_xlim(0, 1.05 * max(totals.values()) / size or 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x", alpha=0.25)
    axes.set_title(column.title, loc="left", fontsize=9.5, fontweight="bold", pad=14)
    axes.set_xlabel(f"{unit}, rounds light to dark" if shades > 1 else unit)


def _draw_accuracy(axes: Axes, accuracy: Accuracy, entries: Sequence[Entry]) -> None:
    spent: dict[int, float] = {}
    for column, words, unit in _COSTS:
        if by_round := spent_by_round(entries, column):
            numbers = [number for number in by_round if number > 0]
            sums = [0.0, *itertools.accumulate(by_round[number] for number in numbers)]
            spent = {number: sums[bisect.bisect_right(numbers, number)] for number in accuracy.percent}
            size, called = _unit(max(spent.values()), unit)
            axes.set_xlabel(f"{words} of all calls so far, {called}")
            break
    else:
        spent, size = {number: float(number) for number in accuracy.percent}, 1.0
        axes.set_xlabel("round")
    across = [spent[number] / size for number in accuracy.percent]
    up = list(accuracy.percent.values())
    axes.plot(across, up, color=_ACCURACY_COLOUR, marker="o", markersize=4, linewidth=1.5, clip_on=False)
    first, best, last = accuracy.first_round, accuracy.best_round, list(accuracy.percent)[-1]
    longest = max(across) or 1.0
    named: list[tuple[int, float]] = []
    for number in (best, first, last):
        place, value = spent[number] / size, accuracy.percent[number]
        if all(abs(place - other) > _APART * longest for _, other in named):
            named.append((number, place))
            is_right = place > longest / 2
            axes.annotate(
                f"{'best, ' if number == best else ''}round {number}: {value:.1f} %",
                (place, value),
                (-4 if is_right else 7, -14 if is_right else -3),
                textcoords="offset points",
                ha="right" if is_right else "left",
                fontsize=8,
            )
    axes.margins(y=0.2)
    axes.set_xlim(0, 1.02 * longest)
    axes.set_ylabel("percent")
    axes.grid(alpha=0.25)
    who = "the server's" if accuracy.source == "server" else f"{accuracy.source} replies'"
    axes.set_title(
        f"Accuracy against cost ({who} {_text(accuracy.metric)})", loc="left", fontsize=9.5, fontweight="bold"
    )


def _title(entries: Sequence[Entry], scores: Mapping[int, Mapping[str, float]]) -> str:
    """Return the run in one line."""
    run = summarize(entries, scores)
    parts = [f"{run['nodes']} nodes, {run['rounds']} rounds, {run['messages']} messages"]
    for name, unit, words in (("wall_seconds", "s", "wall"), ("cpu_seconds", "s", "CPU"), ("energy_joules", "J", "")):
        if run[name] is not None:
            size, called = _unit(run[name], unit)
            parts.append(f"{run[name] / size:.3g} {called} {words}".rstrip())
    if run["straggler_ratio"] is not None:
        parts.append(f"slowest node {_text(run['slowest_name'])}: {run['straggler_ratio']:.2g} times the median")
    if wrong := run["errors"] + run["lost"]:
        parts.append(f"messages without a result: {wrong}")
    return "   |   ".join(parts) + _note(entries, scores)


def _note(entries: Sequence[Entry], scores: Mapping[int, Mapping[str, float]]) -> str:
    """Return a line about what is not in the picture because it cannot be, "" where there is nothing."""
    costs = ("seconds", *(column.name for column in COLUMNS))
    numbers = impossible(entries, scores) + sum(
        not is_possible(name, entry.cost[name]) for entry in entries for name in costs if name in entry.cost
    )
    moments = sum(
        not is_moment(moment) for entry in entries for moment in (entry.sent, entry.received) if moment is not None
    )
    parts = [f"{count} impossible {what}" for count, what in ((numbers, "numbers"), (moments, "times")) if count]
    return f"\nleft out: {', '.join(parts)}" if parts else ""


def _unit(top: float, unit: str) -> tuple[float, str]:
    """Return how large the unit is that suits values up to `top`, and its name."""
    return next((size, name) for least, size, name in _UNITS[unit] if top >= least or not least)


def _colour(kind: str) -> str:
    return _KIND_COLOURS.get(kind.partition(".")[0], _OTHER_COLOUR)


def _text(name: str) -> str:
    """Return a name that comes from elsewhere as matplotlib can show it: short, one line, printable, no formula."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(name.split()))
    short = line if len(line) <= _MOST_NAME_LETTERS else f"...{line[3 - _MOST_NAME_LETTERS :]}"
    return short.replace("$", r"\$")


def _in_legend(label: str) -> str:
    """Return a label that matplotlib does not leave out, as it does with those that begin with an underscore."""
    return f" {label}" if label.startswith("_") else label


def _natural(name: str) -> tuple[bool, int, str]:
    """Order names that are numbers as numbers, before all others."""
    is_number = name.isdecimal() and len(name) <= _MOST_NAME_LETTERS
    return (False, int(name), "") if is_number else (True, 0, name)
