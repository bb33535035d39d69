"""Client detail: everything that one monitor measures, a panel a family of the metric table."""

from __future__ import annotations

from itertools import groupby

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from heflwr.monitor.metrics import DEFAULT_GROUPS
from heflwr_dashboards.board import Panel, Row, board, choice
from heflwr_dashboards.catalogue import MONITOR, SERIES, Series
from heflwr_dashboards.panels import SHARE_STEPS, Query, graph, number

TARGET = 'job="$client_job", instance="$client"'

HEADINGS = {"cpu": "CPU", "gpu": "GPU"}
"""Of groups whose name is an abbreviation."""

LATE_STEPS = ((10.0, "yellow"), (60.0, "red"))
LATE_HELP = "How much older than three intervals a sample was when it was scraped, by the client's own clock."
KEPT_WINDOW = "5m"
KEPT_HELP = "Samples taken in five minutes, of those that were due; only for intervals up to a minute."
KEPT_STEPS = ((0.0, "red"), (0.5, "yellow"), (0.8, "green"))
"""Of one-minute intervals a window of five minutes has one more or less; below half of them, an alert fires."""


def late(selector: str) -> str:
    """Return by how many seconds samples are late; how often Prometheus scrapes plays no part."""
    last, interval = SERIES["heflwr_last_sample_timestamp_seconds"], SERIES["heflwr_sample_interval_seconds"]
    stamp = last.at(selector)
    return f"clamp_min(timestamp({stamp}) - {stamp} - 3 * {interval.at(selector)}, 0)"


def client() -> Dashboard:
    """Return the dashboard."""
    variables = [
        choice(
            "client_job",
            "Job",
            "label_values(heflwr_build_info, job)",
            "Scrape jobs that have monitors.",
            is_single=True,
        ),
        choice(
            "client",
            "Client",
            'label_values(heflwr_build_info{job="$client_job"}, instance)',
            "By the address of its endpoint.",
            is_single=True,
        ),
    ]
    rows = [Row("", _totals())]
    for group, families in groupby(MONITOR, lambda series: series.group):
        panels = [_course(series) for series in families]
        heading = HEADINGS.get(group, group.capitalize())
        rows.append(Row(heading, panels, is_closed=group not in DEFAULT_GROUPS))
    return board("heflwr-client", "heflwr / Client detail", "All that one monitor measures.", variables, rows)


def _totals() -> list[Panel]:
    build, samples = SERIES["heflwr_build_info"], SERIES["heflwr_samples_total"]
    interval = SERIES["heflwr_sample_interval_seconds"]
    cpu, memory = SERIES["heflwr_cpu_usage_ratio"], SERIES["heflwr_memory_usage_ratio"]
    power, energy = SERIES["heflwr_power_watts"], SERIES["heflwr_energy_joules_total"]
    versions = "heflwr {{version}}, Python {{python}}"
    kept = f"rate({samples.at(TARGET)}[{KEPT_WINDOW}]) * ({interval.at(TARGET)} <= 60)"
    return [
        number("Client", Query(build.at(TARGET), "{{identifier}} {{instance}}"), units.Short, build.help, is_text=True),
        number("Versions", Query(build.at(TARGET), versions), units.Short, build.help, is_text=True),
        number("CPU of the machine", Query(cpu.at(TARGET)), cpu.unit, cpu.help, steps=SHARE_STEPS, span=3),
        number("Memory of the machine", Query(memory.at(TARGET)), memory.unit, memory.help, steps=SHARE_STEPS, span=3),
        number("Board power", Query(power.at(TARGET)), power.unit, power.help, span=3),
        number(
            "Board energy",
            Query(f"increase({energy.at(TARGET)}[$__range])"),
            energy.unit,
            f"{energy.help} In the time range.",
            span=3,
        ),
        number("Late", Query(late(TARGET)), units.Seconds, LATE_HELP, steps=LATE_STEPS, span=2),
        number("Kept", Query(kept), units.PercentUnit, KEPT_HELP, steps=KEPT_STEPS, span=2),
    ]


def _course(series: Series) -> Panel:
    """Return a family over time; as many lines as it has series for a client."""
    legend = " ".join(f"{{{{{label}}}}}" for label in series.labels) or series.title
    is_share = series.shown_unit == units.PercentUnit
    by_the_second = {units.Watt: " Mean power.", units.Short: " By the second."}
    about = series.help + by_the_second.get(series.rate_unit, "") * series.is_counter
    return graph(
        series.title,
        [Query(series.shown(TARGET), legend)],
        series.shown_unit,
        about,
        steps=SHARE_STEPS if is_share else (),
        highest=1 if is_share else None,
    )
