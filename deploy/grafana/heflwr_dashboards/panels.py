"""The looks that all panels share, a function a kind: what differs is the query, the unit and the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, statushistory, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The one that is chosen at the top of the dashboard."""

Steps = tuple[tuple[float, str], ...]
"""From which value on which colour; green below the first."""

SHARE_STEPS: Steps = ((0.8, "yellow"), (0.95, "red"))
"""Of a capacity."""

ANY_STEPS: Steps = ((1, "red"),)
"""Of what should not be."""

HEIGHT, STAT_HEIGHT, STATES_HEIGHT, TALL_HEIGHT = 8, 4, 5, 11
"""Rows of the grid."""

CELLS = 120
"""In a row, where a cell is a stretch of time: as many as can be told apart on a screen."""


@dataclass(frozen=True)
class Query:
    """An expression of PromQL, and what its series are called."""

    expr: str
    legend: str = ""


def number(
    title: str, query: Query, unit: str, help: str, *, steps: Steps = (), span: int = 4, is_text: bool = False
) -> stat.Panel:
    """Return one number, the latest, with its course behind it; or with `is_text` the query's legend."""
    panel = (
        stat.Panel()
        .title(title)
        .description(help)
        .datasource(DATASOURCE)
        .with_target(_target(query, 0))
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE if is_text else BigValueGraphMode.AREA)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .height(STAT_HEIGHT)
        .span(span)
    )
    return panel.text_mode(BigValueTextMode.NAME) if is_text else panel


def graph(
    title: str,
    queries: Sequence[Query],
    unit: str,
    help: str,
    *,
    steps: Steps = (),
    highest: float | None = None,
    is_stacked: bool = False,
    is_from_zero: bool = True,
    span: int = 8,
) -> timeseries.Panel:
    """Return lines over time; their last, mean and highest values are in the legend."""
    legend = VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.TABLE)
    legend = legend.placement(LegendPlacement.BOTTOM).calcs(["lastNotNull", "mean", "max"])
    panel = (
        timeseries.Panel()
        .title(title)
        .description(help)
        .datasource(DATASOURCE)
        .targets([_target(query, place) for place, query in enumerate(queries)])
        .unit(unit)
        .line_width(1)
        .fill_opacity(40 if is_stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(legend.sort_by("Max").sort_desc(True))
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .height(HEIGHT)
        .span(span)
    )
    if is_from_zero:
        panel = panel.axis_soft_min(0)
    if steps:
        dashed = GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(thresholds(steps)).thresholds_style(dashed)
    if highest is not None:
        panel = panel.max(highest)
    return panel.stacking(StackingConfig().mode(StackingMode.NORMAL).group("all")) if is_stacked else panel


def states(title: str, query: Query, help: str) -> statetimeline.Panel:
    """Return a bar a series over time: the higher the value, the darker."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(help)
        .datasource(DATASOURCE)
        .with_target(_target(query, 0))
        .color_scheme(FieldColor().mode(FieldColorModeId.CONTINUOUS_BL_PU))
        .show_value(VisibilityMode.AUTO)
        .merge_values(True)
        .legend(VizLegendOptions().show_legend(False))
        .height(STATES_HEIGHT)
        .span(24)
    )


def cells(title: str, query: Query, unit: str, help: str, *, highest: float) -> statushistory.Panel:
    """Return a row a series and a cell a stretch of time, coloured by value."""
    return (
        statushistory.Panel()
        .title(title)
        .description(help)
        .datasource(DATASOURCE)
        .with_target(_target(query, 0))
        .unit(unit)
        .min(0)
        .max(highest)
        .color_scheme(FieldColor().mode(FieldColorModeId.CONTINUOUS_BL_YL_RD))
        .show_value(VisibilityMode.NEVER)
        .max_data_points(CELLS)
        .legend(VizLegendOptions().show_legend(False))
        .height(TALL_HEIGHT)
        .span(24)
    )


def _target(query: Query, place: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).range().ref_id(ascii_uppercase[place])
    return target.legend_format(query.legend) if query.legend else target


def thresholds(steps: Steps) -> ThresholdsConfig:
    """Return steps as Grafana has them."""
    listed = [Threshold(None, "green"), *(Threshold(value, colour) for value, colour in steps)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(listed)
