"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .counts import OURS, Row, geometric_mean, ratios
from .goals import Results, judge
from .speed import NODES, RADII, REFERENCE_MS


def markdown(results: Results) -> str:
    """Return the whole report."""
    machine = results["machine"]
    parts = [
        "# Messages and times of heflwr.automon",
        f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}, Python {machine['python']}; "
        f"{results['preset']} run of {results['seconds']:.0f} s on {results['source']} data, while the "
        f"machine was {machine['busy_percent']:.0f} % busy (this run, on one core, included).",
        "## Goals",
        _goals(results),
        "## Messages",
        "Errors are the largest of any round over the error bound. LB_info bounds every protocol whose answer stands "
        "still between messages, LB_filter those of static local constraints; see `heflwr.automon.oracle`.",
        _counts(results["rows"]),
        *_means(results["rows"]),
        "## A full sync, milliseconds",
        f"{NODES} nodes, median (least to most); neighbourhoods of half-side {RADII['KLD']} and {RADII['MLP']}. The "
        "reference's times are recorded ones; its network has other weights. Eigenvalues are searched as AutoMon does; "
        "proved: the strongest guarantee that the function allows.",
        _syncs(results["speed"]["syncs"]),
        "## A node, and many",
        _nodes(results["speed"]),
    ]
    return "\n\n".join(parts) + "\n"


def _goals(results: Results) -> str:
    rows = []
    for goal, figure, outcome in judge(results):
        shown = f"**{outcome}**" if outcome == "not reached" else outcome
        rows.append((goal.name, f"<= {goal.most:g}", "-" if figure is None else _short(figure), shown))
    return _table(("goal", "bound", "figure", ""), rows)


def _counts(rows: Sequence[Row]) -> str:
    shown = [name for name in OURS if any(name in row for row in rows)]
    has_reference = any("reference" in row for row in rows)
    heads = ["data", "n", "d", "bound", *(["reference", "error"] if has_reference else [])]
    for name in shown:
        heads += [name, *(["/ reference"] if has_reference else []), "error", "rounds over", "guarantee"]
    heads += ["LB_filter", "LB_info", "centralization"]
    lines = []
    for row in rows:
        line = [row["data"], str(row["nodes"]), str(row["dim"]), f"{row['error_bound']:g}"]
        known = row.get("reference")
        if has_reference:
            line += ["-", "-"] if known is None else [str(known["messages"]), f"{known['error']:.2f}"]
        for name in shown:
            ours = row.get(name)
            if ours is None:
                line += ["-"] * (5 if has_reference else 4)
                continue
            ratio = "-" if known is None else f"{ours['messages'] / known['messages']:.2f}"
            line += [str(ours["messages"]), *([ratio] if has_reference else []), f"{ours['error']:.2f}"]
            line += [str(ours["rounds_over"]), ours["guarantee"]]
        lines.append([*line, str(row["filter"]), str(row["info"]), str(row["centralization"])])
    return _table(heads, lines)


def _means(rows: Sequence[Row]) -> list[str]:
    found = {name: ratios(list(rows), name) for name in OURS}
    return [
        f"{name} / reference: geometric mean {geometric_mean(values):.3f}, from {min(values):.3f} to {max(values):.3f}."
        for name, values in found.items()
        if values
    ]


def _syncs(syncs: dict[str, dict[int, dict[str, Any]]]) -> str:
    rows = []
    for kind, measured in syncs.items():
        for dim, sync in measured.items():
            known = REFERENCE_MS[kind.partition(",")[0]].get(dim)
            reference = "-" if known is None else "-".join(f"{each:,.0f}" for each in dict.fromkeys(known))
            ratio = "-" if known is None else f"{known[0] / sync['ms']:,.0f}x"
            ours = f"{_short(sync['ms'])} ({_short(sync['ms_least'])}-{_short(sync['ms_most'])})"
            rows.append((kind, str(dim), reference, ours, ratio, f"{sync['first_s']:.2f} s", sync["guarantee"]))
    return _table(("function", "d", "reference", "ours", "faster", "the first, with compiling", "guarantee"), rows)


def _nodes(speed: dict[str, Any]) -> str:
    rows = [(f"check of {name}, d=40", f"{_short(value)} us") for name, value in speed["checks"].items()]
    rows.append(("memory past NumPy, d=40", f"{speed['node']['kib']:.0f} KiB"))
    for fleet in speed["fleets"]:
        each = fleet["messages"] / fleet["nodes"]
        name = f"{fleet['nodes']:,} nodes, d=40, {fleet['rounds']:,} rounds ({fleet['protocol']})"
        rows.append((name, f"{fleet['seconds']:.1f} s, {fleet['messages']:,} messages, {each:.1f} a node"))
    return _table(("what", "figure"), rows)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up in plain text too."""
    table = [list(heads), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(table[0]), rule, *map(line, table[1:])])
