"""AutoMon: what is known of the watched functions, within which band, and which messages that took and avoided."""

from __future__ import annotations

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard, DynamicConfigValue, FieldColor, FieldColorModeId

from heflwr_dashboards.board import ANY, Panel, Row, board, choice, url_of
from heflwr_dashboards.catalogue import RATE_WINDOW, SERIES
from heflwr_dashboards.panels import ANY_STEPS, Query, graph, number
from heflwr_dashboards.tables import Column, Link, rows_of

COORDINATOR = 'job=~"$fleet_job", instance="$coordinator"'
FUNCTIONS = f'{COORDINATOR}, function=~"$function"'
BY_FUNCTION = "{{function}}"
KEYS = ("function", "unit", "guarantee", "instance", "job")

VALUE = SERIES["heflwr_fleet_value"]
BOUND = SERIES["heflwr_fleet_bound"]
LIVE = SERIES["heflwr_fleet_live_clients"]
STALE = SERIES["heflwr_fleet_stale_clients"]
LOST = SERIES["heflwr_fleet_lost_clients"]
SENT = SERIES["heflwr_fleet_messages_total"]
AVOIDED = SERIES["heflwr_fleet_messages_avoided_total"]

BAND = "highest possible", "lowest possible"


def automon() -> Dashboard:
    """Return the dashboard."""
    variables = [
        choice("fleet_job", "Job", f"label_values({LIVE.name}, job)", "Scrape jobs that have watched functions."),
        choice(
            "coordinator",
            "Coordinator",
            f'label_values({LIVE.name}{{job=~"$fleet_job"}}, instance)',
            "Who knows the functions: `heflwr coordinator`, or a Flower ServerApp.",
            is_single=True,
        ),
        choice(
            "function",
            "Function",
            f"label_values({LIVE.name}{{{COORDINATOR}}}, function)",
            "What is watched.",
            any_value=ANY,
        ),
    ]
    rows = [
        Row("", _totals()),
        Row("Value and band", [_band()]),
        Row("Functions", [_functions()]),
        Row("Messages and clients", _traffic()),
    ]
    about = "Functions of the fleet: their values, the bands that they are in for certain, and what that took."
    return board("heflwr-automon", "heflwr / AutoMon", about, variables, rows)


def _totals() -> list[Panel]:
    unknown = f"count({LIVE.at(FUNCTIONS)} unless {BOUND.at(FUNCTIONS)}) or vector(0)"
    avoided, sent = f"sum({AVOIDED.at(FUNCTIONS)})", f"sum({SENT.at(FUNCTIONS)})"
    return [
        number("Functions watched", Query(f"count({LIVE.at(FUNCTIONS)})"), units.Short, "That are watched.", span=3),
        number(
            "Without a bound",
            Query(unknown),
            units.Short,
            "Functions of which nothing is certain now.",
            steps=ANY_STEPS,
            span=3,
        ),
        number("Live clients", Query(f"max({LIVE.at(FUNCTIONS)})"), units.Short, LIVE.help, span=3),
        number(
            "Stale clients",
            Query(f"max({STALE.at(FUNCTIONS)})"),
            units.Short,
            STALE.help,
            steps=((1, "yellow"),),
            span=3,
        ),
        number("Lost clients", Query(f"max({LOST.at(FUNCTIONS)})"), units.Short, LOST.help, steps=ANY_STEPS, span=3),
        number("Messages sent", Query(sent), units.Short, f"{SENT.help} Since the coordinators began.", span=3),
        number("Messages avoided", Query(avoided), units.Short, AVOIDED.help, span=3),
        number(
            "Share avoided",
            Query(f"{avoided} / ({avoided} + {sent})"),
            units.PercentUnit,
            "Of the messages that telling every change would have cost.",
            span=3,
        ),
    ]


def _band() -> Panel:
    """Return a panel that is repeated for each function: its value, and the band that the true one is in."""
    value, bound = VALUE.at(FUNCTIONS), BOUND.at(FUNCTIONS)
    highest, lowest = BAND
    queries = [
        Query(value, "value {{unit}}"),
        Query(f"{value} + {bound}", highest),
        Query(f"{value} - {bound}", lowest),
    ]
    faint = [
        DynamicConfigValue(id_val="custom.lineWidth", value=0),
        DynamicConfigValue(id_val="color", value=FieldColor(FieldColorModeId.FIXED, "blue")),
    ]
    panel = graph("$function", queries, units.Short, f"{VALUE.help} {BOUND.help}", is_from_zero=False, span=24)
    return (
        panel.repeat("function")
        .repeat_direction("h")
        .max_per_row(3)
        .override_by_name(
            highest,
            [
                *faint,
                DynamicConfigValue(id_val="custom.fillBelowTo", value=lowest),
                DynamicConfigValue(id_val="custom.fillOpacity", value=20),
            ],
        )
        .override_by_name(lowest, [*faint, DynamicConfigValue(id_val="custom.fillOpacity", value=0)])
    )


def _functions() -> Panel:
    columns = [
        Column("Value", _each(VALUE.at(FUNCTIONS))),
        Column("Bound", _each(BOUND.at(FUNCTIONS))),
        Column("Live", _each(LIVE.at(FUNCTIONS))),
        Column("Stale", _each(STALE.at(FUNCTIONS)), steps=((1, "yellow"),)),
        Column("Lost", _each(LOST.at(FUNCTIONS)), steps=ANY_STEPS),
        Column("Messages", _each(SENT.at(FUNCTIONS))),
        Column("Avoided", _each(AVOIDED.at(FUNCTIONS))),
    ]
    link = Link(
        "function", "Only this function", url_of("heflwr-automon", "fleet_job", "coordinator", function="function")
    )
    about = f"A row a function. {BOUND.help}"
    return rows_of("Functions", KEYS, columns, about, sort_by="Messages", links=[link])


def _each(expr: str) -> str:
    return f"sum by ({', '.join(KEYS)}) ({expr})"


def _traffic() -> list[Panel]:
    def counted(name: str) -> str:
        return f"sum(increase({name}{{{FUNCTIONS}}}[{RATE_WINDOW}]))"

    sent, avoided = (f"sum by (function) ({series.at(FUNCTIONS)})" for series in (SENT, AVOIDED))
    share = f"{avoided} / ({avoided} + {sent})"
    return [
        graph(
            "Messages sent and avoided",
            [Query(counted(SENT.name), "sent"), Query(counted(AVOIDED.name), "avoided")],
            units.Short,
            f"{SENT.help} {AVOIDED.help}",
            is_stacked=True,
            span=12,
        ),
        graph(
            "Share avoided by function",
            [Query(share, BY_FUNCTION)],
            units.PercentUnit,
            AVOIDED.help,
            highest=1,
            span=12,
        ),
        graph(
            "Clients",
            [
                Query(f"max({LIVE.at(FUNCTIONS)})", "live"),
                Query(f"max({STALE.at(FUNCTIONS)})", "stale"),
                Query(f"max({LOST.at(FUNCTIONS)})", "lost"),
            ],
            units.Short,
            f"{LIVE.help} {STALE.help} {LOST.help}",
            span=12,
        ),
        graph(
            "Messages by function", [Query(f"{SENT.rate(FUNCTIONS)}", BY_FUNCTION)], SENT.rate_unit, SENT.help, span=12
        ),
    ]
