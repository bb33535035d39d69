"""What all dashboards share: variables, links to one another, and where panels stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    RowPanel,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.dashboard import Panel as PanelModel

from heflwr_dashboards.panels import DATASOURCE

Panel = Builder[PanelModel]
"""What is still to be built."""

TAG = "heflwr"
REFRESH = "10s"
RANGE = "now-1h"

ANY = ".*"
"""What "All" may stand for: also series that do not have the label, and no expression of a thousand names."""


@dataclass(frozen=True)
class Row:
    """Panels under a heading; one that is closed asks nothing of Prometheus until it is opened."""

    title: str
    panels: Sequence[Panel]
    is_closed: bool = False


def choice(
    name: str, label: str, query: str, help: str, *, is_single: bool = False, any_value: str = ""
) -> builders.QueryVariable:
    """Return a variable that offers a label's values; all are chosen at first, or with `is_single` the first.

    Args:
        name: In expressions.
        label: For people.
        query: `label_values(metric, label)`.
        help: One sentence.
        is_single: One value at a time.
        any_value: What "All" stands for; "" for the values that there are.
    """
    variable = (
        builders.QueryVariable(name)
        .label(label)
        .description(help)
        .datasource(DATASOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )
    if is_single:
        return variable.multi(False).include_all(False)
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = variable.multi(True).include_all(True).current(everything)
    return variable.all_value(any_value) if any_value else variable


def url_of(uid: str, *kept: str, **labels: str) -> str:
    """Return where a click on a table's row leads.

    Args:
        uid: The dashboard.
        kept: Variables that stay as they are.
        labels: Variables, and the labels of the row that they are set to.
    """
    chosen = [f'var-{name}=${{__data.fields["{label}"]:percentencode}}' for name, label in labels.items()]
    parts = ["var-datasource=${datasource}", *(f"${{{name}:queryparam}}" for name in kept), *chosen]
    return f"/d/{uid}?{'&'.join(parts)}&${{__url_time_range}}"


def board(
    uid: str, title: str, help: str, variables: Sequence[Builder[VariableModel]], rows: Sequence[Row]
) -> Dashboard:
    """Return a dashboard; a row without a title has no heading.

    Besides `variables` it has the data source, and filters for any label that a scrape configuration adds.
    """
    shared: list[Builder[VariableModel]] = [
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        *variables,
        builders.AdHocVariable("filters").label("Filters").datasource(DATASOURCE),
    ]
    links = builders.DashboardLink("heflwr").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    builder = (
        builders.Dashboard(title)
        .uid(uid)
        .description(help)
        .tags([TAG])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time(RANGE, "now")
        .refresh(REFRESH)
        .variables(shared)
        .link(links.keep_time(True).include_vars(True))
    )
    for row in rows:
        if row.is_closed:
            closed = builders.Row(row.title)
            for panel in row.panels:
                closed = closed.with_panel(panel)
            builder = builder.with_row(closed)
            continue
        if row.title:
            builder = builder.with_row(builders.Row(row.title))
        for panel in row.panels:
            builder = builder.with_panel(panel)
    built = builder.build()
    _number(built.panels or [])
    return built


def _number(panels: Sequence[PanelModel | RowPanel]) -> None:
    """Give every panel an id: links to one panel go by it."""
    inner = [each for panel in panels for each in (panel, *(panel.panels if isinstance(panel, RowPanel) else ()))]
    for number, panel in enumerate(inner, 1):
        panel.id_val = number
