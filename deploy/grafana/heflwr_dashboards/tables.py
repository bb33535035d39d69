"""Tables: a row a client, a node or a function, a column a query, and clicks that lead on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import prometheus, table
from grafana_foundation_sdk.builders.common import TableSortByFieldState
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    TableBarGaugeCellOptions,
    TableColorTextCellOptions,
)
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from heflwr_dashboards.panels import DATASOURCE, TALL_HEIGHT, Steps, thresholds


@dataclass(frozen=True)
class Column:
    """A column of a table: one value a row.

    Attributes:
        name: Its head.
        expr: An expression whose series are the rows.
        unit: Grafana's.
        steps: Colours.
        highest: Draw a bar up to this.
    """

    name: str
    expr: str
    unit: str = units.Short
    steps: Steps = ()
    highest: float | None = None


@dataclass(frozen=True)
class Link:
    """Where a click on a cell leads: `url` may use `${__data.fields["..."]}`."""

    column: str
    title: str
    url: str


def rows_of(
    title: str,
    keys: Sequence[str],
    columns: Sequence[Column],
    help: str,
    *,
    sort_by: str,
    links: Sequence[Link] = (),
) -> table.Panel:
    """Return a table with a row for each combination of the labels in `keys`."""
    values = [f"Value #{ascii_uppercase[place]}" for place in range(len(columns))]
    arranged = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate([*keys, *values])},
        "renameByName": {value: column.name for value, column in zip(values, columns, strict=True)},
    }
    panel = (
        table.Panel()
        .title(title)
        .description(help)
        .datasource(DATASOURCE)
        .targets([_cells(column, place) for place, column in enumerate(columns)])
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(DataTransformerConfig(id_val="organize", options=arranged))
        .thresholds(thresholds(()))
        .filterable(True)
        .sort_by([TableSortByFieldState().display_name(sort_by).desc(True)])
        .height(TALL_HEIGHT)
        .span(24)
    )
    for column in columns:
        panel = panel.override_by_name(column.name, _column_properties(column))
    for link in links:
        target = [{"title": link.title, "url": link.url}]
        panel = panel.override_by_name(link.column, [DynamicConfigValue(id_val="links", value=target)])
    return panel


def _cells(column: Column, place: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(column.expr).instant()
    return target.format(PromQueryFormat.TABLE).ref_id(ascii_uppercase[place])


def _column_properties(column: Column) -> list[DynamicConfigValue]:
    properties = [DynamicConfigValue(id_val="unit", value=column.unit)]
    if column.steps:
        properties.append(DynamicConfigValue(id_val="thresholds", value=thresholds(column.steps).build()))
    if column.highest is not None:
        bar = TableBarGaugeCellOptions(mode=BarGaugeDisplayMode.BASIC)
        properties += [
            DynamicConfigValue(id_val="min", value=0),
            DynamicConfigValue(id_val="max", value=column.highest),
            DynamicConfigValue(id_val="custom.cellOptions", value=bar),
        ]
    elif column.steps:
        properties.append(DynamicConfigValue(id_val="custom.cellOptions", value=TableColorTextCellOptions()))
    return properties
