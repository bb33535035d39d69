"""What Grafana would ask for each panel, asked of a Prometheus: `python tests/deploy/grafana_panels.py` prints it."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from prometheus_server import PrometheusServer  # noqa: E402 - found on the path above

ROOT = TESTS.parent
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"

RANGE_SECONDS, STEP_SECONDS = 10.0, 0.5
BUILT_IN = {"__rate_interval": "4s", "__range": f"{RANGE_SECONDS:g}s"}
"""Grafana's own variables, as they are with scrapes every half a second and a range of ten."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([a-z_]\w*))")
"""Not $1, which is label_replace's."""


@dataclass(frozen=True)
class Asked:
    """A query of a panel, and how many series it has.

    Attributes:
        dashboard: Its uid.
        title: The panel's.
        expr: As in the file.
        most: Series, for the choice of variables that has most.
    """

    dashboard: str
    title: str
    expr: str
    most: int


def dashboards() -> list[dict[str, Any]]:
    """Return all dashboards as they are in the files."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the panels of a dashboard, those of closed rows, too, but no rows."""
    for panel in dashboard["panels"]:
        yield from panel.get("panels", ()) if panel["type"] == "row" else (panel,)


def names_in(text: str) -> set[str]:
    """Return the names of the variables in an expression."""
    return {braced or plain for braced, plain in _VARIABLE.findall(text)}


def filled(text: str, values: dict[str, str]) -> str:
    """Return an expression with its variables filled in; one that nobody defines is a KeyError."""
    return _VARIABLE.sub(lambda found: {**BUILT_IN, **values}[found[1] or found[2]], text)


def choices(dashboard: dict[str, Any], server: PrometheusServer) -> list[dict[str, str]]:
    """Return the values of all variables as they can be chosen: "All" where there is that, else each for itself."""
    found: list[dict[str, str]] = [{}]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = [
                {**known, variable["name"]: value} for known in found for value in _values(variable, known, server)
            ]
    return found


def _values(variable: dict[str, Any], known: dict[str, str], server: PrometheusServer) -> list[str]:
    query = re.fullmatch(r"label_values\((.+), (\w+)\)", filled(variable["query"], known))
    assert query is not None, variable
    values = server.label_values(query[2], query[1])
    assert values, f"the variable {variable['name']} has nothing to choose from: {query[0]}"
    if not variable["includeAll"]:
        return values
    escaped = [re.escape(value).replace("\\", r"\\") for value in values]  # for a regular expression in a string
    return [str(variable.get("allValue", f"({'|'.join(escaped)})"))]


def ask(server: PrometheusServer) -> list[Asked]:
    """Ask for every query of every panel."""
    found = []
    for dashboard in dashboards():
        possible = choices(dashboard, server)
        for panel in panels(dashboard):
            for target in panel["targets"]:
                counts = [_series(target, values, server) for values in possible]
                found.append(Asked(dashboard["uid"], panel["title"], target["expr"], max(counts)))
    return found


def _series(target: dict[str, Any], values: dict[str, str], server: PrometheusServer) -> int:
    expression = filled(target["expr"], values)
    if target.get("instant") and not target.get("range"):
        return len(server.query(expression))
    return len(server.query_range(expression, RANGE_SECONDS, STEP_SECONDS))


def main() -> None:
    """Print a table with a line a query."""
    from monitored_world import monitored_world

    print("| dashboard | panel | series | query |\n| --- | --- | --- | --- |")

    with tempfile.TemporaryDirectory() as folder, monitored_world(Path(folder)) as server:
        for asked in ask(server):
            expression = asked.expr.replace("|", r"\|")
            print(f"| {asked.dashboard} | {asked.title} | {asked.most} | `{expression}` |")


if __name__ == "__main__":
    main()
