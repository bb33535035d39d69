"""Draws what the server knew beside what was true, and what it took to know it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

BLUE, GREY, RED = "#2f6db3", "#7a7f87", "#c8553d"


def draw(names: Sequence[str], units: Sequence[str], series: dict, reports: list, everyone: list, image: Path) -> None:
    """Draw a panel a function, value, band and truth, and one with the reports.

    Args:
        names: Of the functions.
        units: Theirs.
        series: By name: lists of (round, value, bound, truth).
        reports: Reports of all functions by the end of each round.
        everyone: What they would be if every client reported each function in every round.
        image: Where to.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = (len(names) + 2) // 2
    figure, axes = pyplot.subplots(rows, 2, figsize=(10.5, 2.9 * rows), layout="constrained", sharex=True)
    panels = list(axes.flat)
    for panel, name, unit in zip(panels, names, units, strict=False):
        rounds, values, bounds, truths = (list(column) for column in zip(*series[name], strict=True))
        low = [value - bound for value, bound in zip(values, bounds, strict=True)]
        high = [value + bound for value, bound in zip(values, bounds, strict=True)]
        panel.fill_between(rounds, low, high, color=BLUE, alpha=0.18, linewidth=0, label="value and its bound")
        panel.plot(rounds, values, color=BLUE, linewidth=1.8)
        panel.plot(rounds, truths, color=RED, linewidth=0, marker="o", markersize=4.5, label="truth, logged aside")
        panel.set_title(name, loc="left", fontweight="bold")
        panel.set_ylabel(unit if unit != "1" else "")
    panels[0].legend(frameon=False, loc="upper left")
    last = panels[len(names)]
    rounds = [entry[0] for entry in series[names[0]]]
    last.plot(rounds, everyone, color=GREY, linestyle="--", label="every client, every round")
    last.plot(rounds, reports, color=BLUE, linewidth=1.8, label="reports that were sent")
    last.set_title("Reports so far, all functions", loc="left", fontweight="bold")
    last.legend(frameon=False)
    for panel in panels[len(names) + 1 :]:
        panel.set_visible(False)
    for panel in panels:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlabel("round")
    figure.savefig(image, dpi=120)
    pyplot.close(figure)
