"""The results as text: tables for people (Markdown) out of what the measurements returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .candidates import CANDIDATES, ENTRIES
from .goals import MIB, Results, judge, median, noise, quartiles, slowdown, uncertainty

_INTERVALS = ("1", "0.1", "0.01")


def markdown(results: Results) -> str:
    """Return the whole report."""
    machine, settings = results["machine"], results["settings"]
    parts = [
        "# Monitors side by side",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']}, "
        f"Python {machine['python']}; {settings['preset']} run of {results['seconds']:.0f} s. "
        f"The machine was {machine['busy_percent']:.0f} % busy meanwhile (this run included), "
        f"{machine['stolen_percent']:.1f} % stolen by its host.",
        "Medians; in brackets the middle half (first to third quartile), where there are several values. "
        "A goal is undecided where the machine was too noisy to tell.",
        "## Monitors in short",
        _summary(results),
        "## Goals",
        _goals(results),
        "## One reading of CPU, memory and network (CPU microseconds a call, hot loop)",
        _readings(results),
        "## CPU of a whole monitor (ms per second of run, children of the monitor included)",
        _cpu(results),
        "## Pace at an interval of 0.01 s",
        _pace(results),
        "## Latency (ms) and added memory (PSS, MiB)",
        _latency(results),
        "## Slowdown of a computation (%, pure Python, paired runs)",
        _slowdowns(results),
    ]
    if "million" in results:
        facts = results["million"]
        parts += [
            "## A long run",
            f"{facts['samples']:.0f} samples: {facts['bytes'] / MIB:.1f} MiB; largest relative error of a mean or "
            f"total against exact sums: {facts['worst_error']:.1e}.",
        ]
    if results["versions"]:
        parts.append("Peers: " + ", ".join(f"{name} {version}" for name, version in results["versions"].items()) + ".")
    if results["skipped"]:
        parts.append("## Not measured\n\n" + "\n".join(f"- {line}" for line in results["skipped"]))
    return "\n\n".join(parts) + "\n"


def _summary(results: Results) -> str:
    """Return a table that stands by itself: medians alone, a line a monitor."""

    def middle(values: Sequence[float], scale: float = 1.0) -> str:
        return _short(median(values) * scale) if values else "-"

    rows = []
    for name in results["candidates"]:
        if name not in CANDIDATES:
            continue
        together, life = results["together"].get(name, {}), results["lives"].get(name, {})
        latency = results["latencies"].get(name, {})
        process, children = life.get("added_process", []), life.get("added_children", [])
        rows.append(
            (
                ENTRIES[name].label,
                middle(together.get("cpu", [])),
                middle(life.get("cpu 0.1", [])),
                middle(life.get("cpu 0.01", [])),
                middle(life.get("samples 0.01", [])),
                middle([sum(both) for both in zip(process, children, strict=True)], 1 / MIB),
                middle(latency.get("start", []), 1000),
                middle(latency.get("stop", []), 1000),
            )
        )
    heads = ("monitor", *(f"CPU ms/s at {interval} s" for interval in _INTERVALS), "samples/s at 0.01 s")
    return _table((*heads, "added memory, MiB", "start(), ms", "stop(), ms"), rows)


def _goals(results: Results) -> str:
    rows = []
    for verdict in judge(results):
        goal = verdict.goal
        bound = f"{'>=' if goal.at_least else '<='} {goal.bound:g} {goal.unit}".rstrip()
        figure = "-" if verdict.figure is None else f"{_short(verdict.figure)} {goal.unit}".rstrip()
        outcome = f"**{verdict.outcome}**" if verdict.outcome == "not reached" else verdict.outcome
        rows.append((goal.name, bound, figure, outcome))
    return _table(("goal", "bound", "figure", ""), rows)


def _readings(results: Results) -> str:
    rows = []
    for family, kinds in results["readings"].items():
        floor = median(kinds["floor"])
        for kind, values in kinds.items():
            rows.append((f"{kind}, {family}", _spread(values), f"{median(values) / floor:.2f}"))
    return _table(("reading", "us", "x floor"), rows)


def _cpu(results: Results) -> str:
    def cells(name: str) -> list[str]:
        together = results["together"].get(name, {})
        life = results["lives"].get(name, {})
        return [_spread(together.get("cpu", [])), _spread(life.get("cpu 0.1", [])), _spread(life.get("cpu 0.01", []))]

    return _by_candidate(results, ("monitor", *(f"every {interval} s" for interval in _INTERVALS)), cells)


def _pace(results: Results) -> str:
    def cells(name: str) -> list[str]:
        life = results["lives"].get(name, {})
        return [
            _spread(life.get("samples 0.01", [])),
            _spread(life.get("period 0.01", []), 1000),
            _spread(life.get("jitter 0.01", []), 1000),
        ]

    return _by_candidate(results, ("monitor", "samples a second", "mean period, ms", "p99 off the period, ms"), cells)


def _latency(results: Results) -> str:
    def cells(name: str) -> list[str]:
        latency, life = results["latencies"].get(name, {}), results["lives"].get(name, {})
        imported = results["imports"].get(name, {}).get("seconds", [])
        return [
            _spread(imported, 1000),
            *(_spread(latency.get(key, []), 1000) for key in ("start", "first", "stop")),
            _spread(life.get("added_process", []), 1 / MIB),
            _spread(life.get("added_children", []), 1 / MIB),
        ]

    heads = ("monitor", "import", "start()", "first sample", "stop()", "memory, process", "memory, children")
    return _by_candidate(results, heads, cells)


def _slowdowns(results: Results) -> str:
    rows = []
    for interval, measured in results["slowdown"].items():
        for name, row in measured.items():
            first, third = (100 * (ratio - 1) for ratio in quartiles(row["ratios"]))
            rows.append(
                (
                    ENTRIES[name].label,
                    f"{interval} s",
                    f"{slowdown(results, interval, name):+.2f} ({first:+.2f} to {third:+.2f})",
                    f"{uncertainty(results, interval, name):.2f}" if len(row["ratios"]) > 1 else "-",
                    str(len(row["ratios"])),
                )
            )
        rows.append(
            ("(noise: half the spread without a monitor)", f"{interval} s", f"{noise(results, interval):.2f}", "", "")
        )
    return _table(("monitor", "interval", "longer by", "median +-", "pairs"), rows)


def _by_candidate(results: Results, heads: Sequence[str], cells: Callable[[str], list[str]]) -> str:
    rows = []
    for name in results["candidates"]:
        row = cells(name)
        if any(cell != "-" for cell in row):
            rows.append((ENTRIES[name].label, *row))
    return _table(heads, rows)


def _spread(values: Sequence[float], scale: float = 1.0) -> str:
    if not values:
        return "-"
    scaled = [value * scale for value in values]
    if len(scaled) == 1:
        return _short(scaled[0])
    first, third = quartiles(scaled)
    return f"{_short(median(scaled))} ({_short(first)}-{_short(third)})"


def _short(value: float) -> str:
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up in plain text too."""
    table = [list(heads), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(table[0]), rule, *map(line, table[1:])])
