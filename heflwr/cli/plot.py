"""`heflwr plot`: a file of samples becomes a picture, a panel for each group of metrics, one time axis under all."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heflwr.cli.quantities import binary
from heflwr.cli.reading import RunLog, read_log
from heflwr.monitor.metrics import METRICS, Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FAILED = 1

_PANEL_INCHES = (9.0, 1.9)
_DOTS_PER_INCH = 130

_FEW_SAMPLES = 60
"""Up to so many, each is marked with a dot: the line between two is a guess."""

_EMPTY_TOP = 0.999
"""Upper end of an axis on which everything is zero."""

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
        (("energy_cpu_joules", "CPU"), ("energy_gpu_joules", "GPU"), ("energy_system_joules", "system")),
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


def plot(log: str, *, output: str | None = None, run: str | None = None, is_all: bool = False) -> int:
    """Draw a file of samples.

    Args:
        log: What FileSink wrote.
        output: The picture; its ending says the format. Default `log` with the ending .png.
        run: The beginning of the id of the run to draw; default the newest.
        is_all: Draw every run.

    Returns:
        The exit code: 0, or 1 with the reason on stderr.
    """
    path = Path(log)
    try:
        content = read_log(path)
    except OSError as error:
        return _fail(f"cannot read {path}: {error.strerror}")
    if content.bad_lines:
        _say(f"{path}: left out {content.bad_lines} lines that are torn or no samples")
    runs = [one for one in content.runs if one.elapsed]
    if not runs:
        return _fail(f"{path} holds no samples of heflwr (text, JSON lines or CSV)")
    try:
        chosen = runs if is_all else [_choose(runs, run)]
    except LookupError as error:
        return _fail(str(error.args[0]))
    image = Path(output) if output is not None else path.with_suffix(".png")
    try:
        _draw(chosen, image)
    except ImportError:
        return _fail("drawing needs matplotlib: pip install 'heflwr[plot]'")
    except (OSError, ValueError) as error:  # ValueError: a format that matplotlib does not know
        return _fail(f"cannot write {image}: {error}")
    names = ", ".join(f"{one.run} ({len(one.elapsed)} samples)" for one in chosen)
    others = len(runs) - len(chosen)
    left = f"; {others} more in the file, see --run and --all" if others else ""
    print(f"{image}: run {names}{left}")
    return 0


def _choose(runs: Sequence[RunLog], wanted: str | None) -> RunLog:
    """Return the run whose id begins with `wanted`, or the newest. Raises LookupError."""
    if wanted is None:
        return max(runs, key=lambda one: one.started.timestamp() if one.started else -math.inf)
    found = [one for one in runs if one.run.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs begin with" if found else "there is no run"
    known = "".join(f"\n  {one.run}  {_when(one)}  {one.identifier}" for one in found or runs)
    raise LookupError(f"{what} {wanted!r}; choose from:{known}")


def _draw(runs: Sequence[RunLog], image: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FixedLocator, MaxNLocator

    panels = [panel for panel in PANELS if any(_has(one, name) for one in runs for name, _ in panel.lines)]
    width, height = _PANEL_INCHES
    figure, grid = pyplot.subplots(
        len(panels), 1, sharex=True, squeeze=False, figsize=(width, height * len(panels) + 0.9), layout="constrained"
    )
    try:
        for panel, axes in zip(panels, grid[:, 0], strict=True):
            _draw_panel(axes, panel, runs)
            axes.yaxis.set_major_locator(MaxNLocator(4) if axes.get_ylim()[1] != _EMPTY_TOP else FixedLocator([0]))
        longest = max(one.elapsed[-1] for one in runs)
        seconds, unit = _time_unit(longest)
        grid[-1, 0].set_xlabel(f"time since the run's start, {unit}")
        grid[-1, 0].xaxis.set_major_formatter(lambda value, _: f"{value / seconds:g}")
        grid[-1, 0].xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 3, 5, 6, 10]))
        grid[-1, 0].set_xlim(0, longest or 1)
        figure.suptitle(_title(runs), fontsize=11, x=0.01, ha="left")
        figure.savefig(image, dpi=_DOTS_PER_INCH)
    finally:
        pyplot.close(figure)


def _draw_panel(axes: Axes, panel: Panel, runs: Sequence[RunLog]) -> None:
    drawn: list[tuple[RunLog, int, str, list[float]]] = []
    kind = _KINDS[panel.lines[0][0]]
    for one in runs:
        for index, (name, label) in enumerate(panel.lines):
            if _has(one, name):
                values = [value * panel.scale for value in one.columns[name]]
                drawn.append((one, index, label, _per_second(values, one.elapsed) if kind is Kind.DELTA else values))
    top = max((value for *_, values in drawn for value in values if math.isfinite(value)), default=0.0)
    unit, divisor = panel.unit, 1.0
    if unit.startswith("B"):
        number, prefixed = binary(top)
        unit, divisor = prefixed + unit[1:], top / number if number else 1.0
    for one, index, label, values in drawn:
        is_alone = len(runs) == 1
        style: dict[str, Any] = {
            "color": _COLOURS[index % len(_COLOURS)] if is_alone else _run_colour(runs, one),
            "linestyle": "-" if is_alone else _STYLES[index % len(_STYLES)],
        }
        times, shown = list(one.elapsed), [value / divisor for value in values]
        if kind is Kind.LEVEL:
            style["marker"] = "." if len(values) <= _FEW_SAMPLES else None
        else:
            style["drawstyle"] = "steps-pre"
            times, shown = [0.0, *times], [shown[0], *shown]
        axes.plot(times, shown, label=label if one is runs[0] else None, linewidth=1.4, clip_on=False, **style)
        if panel.is_filled and is_alone:
            step: Literal["pre"] | None = None if kind is Kind.LEVEL else "pre"
            axes.fill_between(times, shown, step=step, color=style["color"], alpha=0.15, linewidth=0)
    axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axes.set_ylabel(unit, fontsize=9)
    axes.set_ylim(0, 1.12 * top / divisor if top > 0 else _EMPTY_TOP)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if len({label for *_, label, _ in drawn}) > 1:
        axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=4)


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
    parts = [one.identifier, f"on {host}" if host else "", _when(one), f"run {one.run[:8]}"]
    return "   ".join(part for part in parts if part)


def _when(one: RunLog) -> str:
    return one.started.strftime("%Y-%m-%d %H:%M:%S %z") if one.started else ""


def _fail(reason: str) -> int:
    _say(reason)
    return _FAILED


def _say(text: str) -> None:
    print(f"heflwr plot: {text}", file=sys.stderr)
