"""Flower round timeline: who computed when, what the rounds cost, and what the model learned."""

from __future__ import annotations

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from heflwr_dashboards.board import ANY, Panel, Row, board, choice, url_of
from heflwr_dashboards.catalogue import NODES, RATE_WINDOW, SERIES, Series
from heflwr_dashboards.panels import ANY_STEPS, Query, Steps, cells, graph, number, states
from heflwr_dashboards.tables import Column, Link, rows_of

SERVER = 'job=~"$server_job", instance="$server"'
CALLS = f'{SERVER}, node=~"$node"'

MOST = 10
"""Lines in a graph: the nodes that were highest over its time range."""

MOST_ROWS = 25
"""Rows in the timeline of nodes."""

STRAGGLER_STEPS: Steps = ((1.5, "yellow"), (2.0, "red"))

ROUND = SERIES["heflwr_flower_round"]
KNOWN = SERIES["heflwr_flower_nodes"]
LEFT_OUT = SERIES["heflwr_flower_nodes_left_out"]
MESSAGES = SERIES["heflwr_flower_messages_total"]
STRAGGLER = SERIES["heflwr_flower_straggler_ratio"]
SCORE = SERIES["heflwr_flower_score"]
OVERHEAD = SERIES["heflwr_flower_overhead_cpu_seconds_total"]
ROUND_ENERGY = SERIES["heflwr_flower_round_energy_joules"]
USUAL_ENERGY = SERIES["heflwr_flower_round_energy_median_joules"]
FAULTS = SERIES["heflwr_flower_faults_total"]
TIMES = SERIES["heflwr_client_calls_total"]
SECONDS = SERIES["heflwr_client_call_seconds_total"]
CPU = SERIES["heflwr_client_cpu_seconds_total"]


def rounds() -> Dashboard:
    """Return the dashboard."""
    variables = [
        choice(
            "server_job",
            "Job",
            "label_values(heflwr_flower_round, job)",
            "Scrape jobs that have a ServerApp's metrics.",
        ),
        choice(
            "server",
            "Run",
            'label_values(heflwr_flower_round{job=~"$server_job"}, instance)',
            "What one ServerApp serves, by the address of its endpoint.",
            is_single=True,
        ),
        choice(
            "node",
            "Node",
            f"label_values(heflwr_client_call_seconds_total{{{SERVER}}}, node)",
            "Partitions, else node ids.",
            any_value=ANY,
        ),
    ]
    rows = [
        Row("", _totals()),
        Row("Rounds", _timeline()),
        Row("Nodes", [_nodes()]),
        Row("What calls cost", [_highest(series) for series in NODES]),
    ]
    about = "A Flower run as its ServerApp serves it: rounds, calls, what they cost by node, and the model's metrics."
    return board("heflwr-rounds", "heflwr / Flower round timeline", about, variables, rows)


def _totals() -> list[Panel]:
    failed = MESSAGES.at(f'{SERVER}, status!="ok"')
    pace = f"1 / (deriv({ROUND.at(SERVER)}[$__range]) > 0)"
    overhead, calls = f"sum({OVERHEAD.at(SERVER)})", f"sum({CPU.at(SERVER)})"
    share = f"{overhead} / ({overhead} + {calls})"
    return [
        _one("Latest round", f"max({ROUND.at(SERVER)})", ROUND.help),
        _one(
            "Time a round",
            f"max({pace})",
            "Mean over the time range; choose one in which one run goes on.",
            units.Seconds,
        ),
        _one("Nodes asked", f"sum({KNOWN.at(SERVER)})", KNOWN.help),
        _one("Slowest to median", f"max({STRAGGLER.at(SERVER)})", STRAGGLER.help, steps=STRAGGLER_STEPS),
        _one("Not answered", f"sum({failed}) or vector(0)", "Messages that failed or were lost.", steps=ANY_STEPS),
        _one("Energy of the latest round", f"max({ROUND_ENERGY.at(SERVER)})", ROUND_ENERGY.help, ROUND_ENERGY.unit),
        _one("Overhead", share, f"{OVERHEAD.help} Of all CPU time.", units.PercentUnit),
        _one("Faults of heflwr", f"sum({FAULTS.at(SERVER)}) or vector(0)", FAULTS.help, steps=ANY_STEPS),
    ]


def _one(title: str, expr: str, about: str, unit: str = units.Short, steps: Steps = ()) -> Panel:
    return number(title, Query(expr), unit, about, steps=steps, span=3)


def _timeline() -> list[Panel]:
    mean = f"sum by (kind) ({SECONDS.rate(CALLS)}) / (sum by (kind) ({TIMES.rate(CALLS)}) > 0)"
    return [
        states("Rounds", Query(ROUND.at(SERVER), "{{instance}}"), ROUND.help),
        cells(
            "Who computed when",
            Query(SECONDS.top(CALLS, MOST_ROWS, "node"), "{{node}}"),
            units.PercentUnit,
            f"Share of time in calls, told when the reply came; the {MOST_ROWS} nodes with most of it.",
            highest=1,
        ),
        graph(
            "Model", [Query(SCORE.at(SERVER), "{{metric}} ({{source}})")], units.Short, SCORE.help, is_from_zero=False
        ),
        graph(
            "Straggler ratio",
            [Query(STRAGGLER.at(SERVER), "{{instance}}")],
            units.Short,
            STRAGGLER.help,
            steps=STRAGGLER_STEPS,
        ),
        graph(
            "Messages",
            [Query(f"sum by (kind, status) (increase({MESSAGES.at(SERVER)}[{RATE_WINDOW}]))", "{{kind}} {{status}}")],
            units.Short,
            MESSAGES.help,
            is_stacked=True,
        ),
        graph("Time a call", [Query(mean, "{{kind}}")], units.Seconds, "Mean wall time of a call."),
        graph(
            "CPU",
            [
                Query(f"sum by (kind) ({CPU.rate(CALLS)})", "{{kind}}"),
                Query(f"sum({OVERHEAD.rate(SERVER)})", "overhead"),
            ],
            units.Short,
            f"Cores in use by calls, and besides them. {OVERHEAD.help}",
            is_stacked=True,
        ),
        graph(
            "Energy of a round",
            [Query(ROUND_ENERGY.at(SERVER), "latest"), Query(USUAL_ENERGY.at(SERVER), "median of those before")],
            ROUND_ENERGY.unit,
            f"{ROUND_ENERGY.help} {USUAL_ENERGY.help}",
        ),
    ]


def _nodes() -> Panel:
    columns = [Column(series.title, series.gathered(series.at(CALLS), "node"), series.unit) for series in NODES]
    link = Link("node", "Only this node", url_of("heflwr-rounds", "server_job", "server", node="node"))
    about = f"A row a node; sums since the run began, else the latest call's. {LEFT_OUT.help}"
    return rows_of("Nodes", ("node",), columns, about, sort_by=columns[0].name, links=[link])


def _highest(series: Series) -> Panel:
    about = f"{series.help} The {MOST} nodes that were highest over the time range."
    query = Query(series.top(CALLS, MOST, "node"), "{{node}}")
    return graph(f"{series.title}, highest", [query], series.shown_unit, about)
