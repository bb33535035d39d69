"""The results as a picture: messages against the largest error, a panel a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

COLOURS = {"reference": "#9aa5b1", "gm": "#d9a441", "gm proved": "#b5651d", "auto": "#0b7a75"}
"""By who sent the messages."""

BOUNDS = {"filter": ("LB_filter", "--"), "info": ("LB_info", ":")}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the rows to a PNG file."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5 * columns, 4 * lines), layout="constrained", squeeze=False)
    for at, name in zip(axes.flat, names, strict=False):
        _panel(at, name, [row for row in rows if row["data"] == name])
    for at in axes.flat[len(names) :]:
        at.set_axis_off()
    handles = {label: handle for at in axes.flat for handle, label in zip(*at.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axes: Axes, name: str, rows: list[dict[str, Any]]) -> None:
    bounds = [row["error_bound"] for row in rows]
    for who, colour in COLOURS.items():
        found = [row for row in rows if who in row]
        if found:
            errors = [row[who]["error"] * row["error_bound"] for row in found]
            size = 9 if who == "reference" else 4  # ours may lie right upon it
            axes.plot(errors, [row[who]["messages"] for row in found], "o-", color=colour, label=who, markersize=size)
    for key, (label, style) in BOUNDS.items():
        lows, label = [row[key] for row in rows], f"{label} (at the bound)"
        axes.plot(bounds, lows, style, color="#22303c", linewidth=1, marker=".", label=label)
    axes.axhline(rows[0]["centralization"], color="#c0392b", linewidth=1, label="centralization")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"{name}, {rows[0]['nodes']} nodes", loc="left", fontsize=10)
    axes.set_xlabel("largest error of any round")
    axes.set_ylabel("messages")
