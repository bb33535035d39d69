"""A picture of runs: a panel for each group of metrics that they hold, one time axis under all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heflwr.cli.reading import RunLog
from heflwr.monitor.metrics import METRICS, Kind
from heflwr.quantities import binary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_INCHES = (9.0, 1.9)
_DOTS_PER_INCH = 130

_FEW_SAMPLES = 60
"""Up to so many, each is marked with a dot: the line between two is a guess."""

_NAMED_RUNS = 16
"""The legend names so many runs at most, evenly chosen: their colours are steps of one scale."""

_COLOURS = ("#2f6fb7", "#e07b39", "#3a9a6b", "#b8479b", "#8a7a3c", "#5b5bd6")
"""Told apart also without colour vision: they differ in lightness."""

_STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. Increments are drawn per second; what stands for the time since the sample before, as steps.

    Attributes:
        title: Above it.
        unit: Of its values once scaled; "B" and "B/s" get the binary prefix that fits.
        lines: Metrics and their names in the legend.
        scale: From the metric's unit to this one.
        is_filled: Shade the area below a single line.
    """

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    scale: float = 1.0
    is_filled: bool = False


PANELS = (
    Panel("CPU", "% of the machine", (("cpu_usage", "process tree"),), is_filled=True),
    Panel("Memory", "B", (("memory_bytes", "process tree"),), is_filled=True),
    Panel("Network", "B/s", (("network_bytes_sent", "sent"), ("network_bytes_recv", "received"))),
    Panel(
        "Power",
        "W",
        (("power_vdd_in", "board"), ("power_vdd_cpu_gpu_cv", "CPU, GPU, CV"), ("power_vdd_soc", "SoC")),
        scale=1e-3,
    ),
    Panel(
        "Power by counted energy",
        "W",
        (
            ("energy_cpu_joules", "CPU packages"),
            ("energy_gpu_joules", "GPUs"),
            ("energy_system_joules", "whole machine"),
        ),
    ),
    Panel("Disk", "B/s", (("disk_bytes_read", "read"), ("disk_bytes_written", "written"))),
    Panel("GPU", "%", (("gpu_usage", "busy"),), is_filled=True),
    Panel("GPU memory", "B", (("gpu_memory_bytes", "in use"),), is_filled=True),
    Panel("GPU power", "W", (("gpu_power", "all GPUs"),), scale=1e-3),
    Panel("Threads and files", "count", (("threads", "threads"), ("open_files", "open files"))),
    Panel("Context switches", "1/s", (("context_switches", "switches"),)),
)
"""What is drawn, from top to bottom; a panel without a single value is left out."""

_KINDS = {metric.name: metric.kind for metric in METRICS}


def draw(runs: Sequence[RunLog], image: Path) -> None:
    """Draw runs, each from its own start on.

    Args:
        runs: At least one, each with at least one sample.
        image: Where to; the ending says the format.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: The file cannot be written.
        ValueError: matplotlib does not know the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    colours = dict(zip((one.run for one in runs), _run_colours(len(runs)), strict=True))
    panels = [panel for panel in PANELS if any(_has(one, name) for one in runs for name, _ in panel.lines)]
    width, height = _PANEL_INCHES
    figure, grid = pyplot.subplots(
        len(panels), 1, sharex=True, squeeze=False, figsize=(width, height * len(panels) + 0.9), layout="constrained"
    )
    try:
        for panel, axes in zip(panels, grid[:, 0], strict=True):
            _draw_panel(axes, panel, runs, colours)
        longest = max(one.elapsed[-1] for one in runs)
        seconds, unit = _time_unit(longest)
        lowest = grid[-1, 0]
        lowest.set_xlabel(f"time since the run's start, {unit}", fontsize=9)
        lowest.xaxis.set_major_formatter(lambda value, _: f"{value / seconds:g}")
        lowest.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 3, 5, 6, 10]))
        lowest.set_xlim(0, longest or 1)
        figure.suptitle(_title(runs), fontsize=11, x=0.01, ha="left")
        if len(runs) > 1:
            named = runs[:: math.ceil(len(runs) / _NAMED_RUNS)]
            handles = [
                Line2D([], [], color=colours[one.run], label=f"{one.identifier} ({one.run[:6]})") for one in named
            ]
            figure.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=8, frameon=False)
        figure.savefig(image, dpi=_DOTS_PER_INCH)
    finally:
        pyplot.close(figure)


def _run_colours(count: int) -> list[Any]:
    """Return a colour a run: a few distinct ones, or steps of a scale from the oldest to the newest."""
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    from matplotlib import colormaps

    return [colormaps["viridis"](0.95 * at / (count - 1)) for at in range(count)]


def _draw_panel(axes: Axes, panel: Panel, runs: Sequence[RunLog], colours: dict[str, Any]) -> None:
    """Draw one group: a single run has a colour a metric; several have a colour a run and a style a metric."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, MaxNLocator

    is_alone = len(runs) == 1
    kind = _KINDS[panel.lines[0][0]]
    drawn: list[tuple[RunLog, int, list[float]]] = []
    for one in runs:
        for index, (name, _) in enumerate(panel.lines):
            if _has(one, name):
                values = [value * panel.scale for value in one.columns[name]]
                drawn.append((one, index, _per_second(values, one.elapsed) if kind is Kind.DELTA else values))
    top = max((value for *_, values in drawn for value in values if math.isfinite(value)), default=0.0)
    unit, divisor = panel.unit, 1.0
    if unit.startswith("B"):
        number, prefixed = binary(top)
        unit, divisor = prefixed + unit[1:], top / number if number else 1.0
    legend: dict[int, Line2D] = {}
    for one, index, values in drawn:
        colour = _COLOURS[index] if is_alone else colours[one.run]
        style: dict[str, Any] = {"color": colour, "linestyle": "-" if is_alone else _STYLES[index], "linewidth": 1.4}
        times, shown = list(one.elapsed), [value / divisor for value in values]
        if kind is Kind.LEVEL:
            style["marker"] = "." if len(values) <= _FEW_SAMPLES else None
        else:
            style["drawstyle"] = "steps-pre"
            times, shown = [0.0, *times], [shown[0], *shown]
        axes.plot(times, shown, clip_on=False, **style)
        if panel.is_filled and is_alone:
            step: Literal["pre"] | None = None if kind is Kind.LEVEL else "pre"
            axes.fill_between(times, shown, step=step, color=colour, alpha=0.15, linewidth=0)
        legend[index] = Line2D(
            [], [], color=colour if is_alone else "dimgrey", linestyle=style["linestyle"], label=panel.lines[index][1]
        )
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_ylabel(unit, fontsize=9)
    axes.set_ylim(0, 1.12 * top / divisor if top > 0 else 1)
    axes.yaxis.set_major_locator(MaxNLocator(4) if top > 0 else FixedLocator([0]))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if len(panel.lines) > 1:
        axes.legend(
            handles=[legend[index] for index in sorted(legend)],
            fontsize=8,
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1.0, 0.97),
            ncols=len(legend),
        )


def _has(one: RunLog, name: str) -> bool:
    return any(math.isfinite(value) for value in one.columns.get(name, ()))


def _per_second(values: Iterable[float], elapsed: Sequence[float]) -> list[float]:
    """Return increments over the seconds since the sample before; NaN where no time passed."""
    before = (0.0, *elapsed)
    return [
        value / (now - then) if now > then else math.nan
        for value, now, then in zip(values, elapsed, before, strict=False)
    ]


def _time_unit(longest: float) -> tuple[float, str]:
    if longest < 300:
        return 1.0, "seconds"
    return (60.0, "minutes") if longest < 3 * 3600 else (3600.0, "hours")


def _title(runs: Sequence[RunLog]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs"
    one = runs[0]
    host = one.about.get("host")
    parts = [one.identifier, f"on {host}" if host else "", one.when, f"run {one.run[:8]}"]
    return "   ".join(part for part in parts if part)
