"""Fleet overview: how many clients there are, what they take together, and which of them stand out."""

from __future__ import annotations

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from heflwr_dashboards.board import ANY, Panel, Row, board, choice, url_of
from heflwr_dashboards.catalogue import MONITOR, RATE_WINDOW, SERIES, Series
from heflwr_dashboards.client import LATE_HELP, LATE_STEPS, late
from heflwr_dashboards.panels import ANY_STEPS, SHARE_STEPS, Query, Steps, graph, number
from heflwr_dashboards.tables import Column, Link, rows_of

TARGETS = 'job=~"$job", instance=~"$instance"'
CLIENTS = f'{TARGETS}, identifier=~"$identifier"'
NAME = "{{identifier}} {{instance}}"

MOST = 10
"""Lines in a graph: the clients that were highest over its time range."""

CLIENT_URL = url_of("heflwr-client", client_job="job", client="instance")

CPU = SERIES["heflwr_cpu_seconds_total"]
CPU_USAGE = SERIES["heflwr_cpu_usage_ratio"]
MEMORY = SERIES["heflwr_memory_resident_bytes"]
MEMORY_USAGE = SERIES["heflwr_memory_usage_ratio"]
SENT = SERIES["heflwr_network_transmit_bytes_total"]
RECEIVED = SERIES["heflwr_network_receive_bytes_total"]
POWER = SERIES["heflwr_power_watts"]
ENERGY = SERIES["heflwr_energy_joules_total"]

GPUS = [series for series in MONITOR if series.group == "gpu"]

ACCEPTED = SERIES["heflwr_collector_samples_accepted_total"]
DUPLICATES = SERIES["heflwr_collector_samples_duplicate_total"]
REFUSED = SERIES["heflwr_collector_requests_refused_total"]
LAG = SERIES["heflwr_collector_lag_seconds"]
COMMITS = SERIES["heflwr_collector_commits_total"]
COMMIT_SECONDS = SERIES["heflwr_collector_commit_seconds_total"]
STORE = SERIES["heflwr_collector_store_bytes"]
LISTENERS = SERIES["heflwr_collector_listeners"]
SENDERS = SERIES["heflwr_collector_clients"]
PACE = SERIES["heflwr_collector_pace_seconds"]

PER_HOST = "Of several clients on one host the largest number counts once."


HOST = "(.+?)(:[0-9]+)?"
"""What of `instance` is the host; who relabels it to a plain name has no port in it."""


def per_host(expr: str) -> str:
    """Return the sum over hosts of what belongs to a host: every client there tells the same."""
    return f'sum(max by (host) (label_replace({expr}, "host", "$1", "instance", "{HOST}")))'


def fleet() -> Dashboard:
    """Return the dashboard."""
    variables = [
        choice("job", "Job", "label_values(heflwr_build_info, job)", "Scrape jobs that have monitors."),
        choice(
            "instance",
            "Instance",
            'label_values(up{job=~"$job"}, instance)',
            "Addresses of the endpoints.",
            any_value=ANY,
        ),
        choice(
            "identifier",
            "Identifier",
            f"label_values(heflwr_build_info{{{TARGETS}}}, identifier)",
            "What monitors were told to be called; All has those without one, too.",
            any_value=ANY,
        ),
    ]
    rows = [
        Row("", _totals()),
        Row("Clients", [_clients()]),
        Row("CPU and memory", _cpu_and_memory()),
        Row("Network, power and energy", _network_and_power()),
        Row("GPUs", _gpus(), is_closed=True),
        Row("Collector", _collector(), is_closed=True),
    ]
    return board("heflwr-fleet", "heflwr / Fleet overview", "All monitored clients together.", variables, rows)


def _totals() -> list[Panel]:
    up = f"up{{{TARGETS}}}"
    network = f"{per_host(SENT.rate(CLIENTS))} + {per_host(RECEIVED.rate(CLIENTS))}"
    return [
        number("Clients up", Query(f"sum({up})"), units.Short, "Endpoints that answer.", span=3),
        number(
            "Clients down",
            Query(f"count({up} == 0) or vector(0)"),
            units.Short,
            "Endpoints that do not answer.",
            steps=ANY_STEPS,
            span=3,
        ),
        number(
            "Sampling late",
            Query(f"count({late(CLIENTS)} > {LATE_STEPS[0][0]:g}) or vector(0)"),
            units.Short,
            f"The endpoint answers, but its sample is old. {LATE_HELP}",
            steps=ANY_STEPS,
            span=3,
        ),
        number("CPU", Query(f"sum({CPU.rate(CLIENTS)})"), units.Short, f"Cores in use. {CPU.help}", span=3),
        number("Memory", Query(f"sum({MEMORY.at(CLIENTS)})"), MEMORY.unit, MEMORY.help, span=3),
        number("Network", Query(network), SENT.rate_unit, f"Both ways. {PER_HOST}", span=3),
        number("Power", Query(per_host(POWER.at(CLIENTS))), POWER.unit, f"{POWER.help} {PER_HOST}", span=3),
        number(
            "Energy",
            Query(per_host(f"increase({ENERGY.at(CLIENTS)}[$__range])")),
            ENERGY.unit,
            f"{ENERGY.help} In the time range. {PER_HOST}",
            span=3,
        ),
    ]


def _clients() -> Panel:
    keys = ("client", "identifier", "instance", "job")

    def each(reduction: str, expr: str, by: str = ", ".join(keys)) -> str:
        return f"{reduction} by ({by}) ({expr})"

    columns = [
        Column("Up", each("max", f"up{{{TARGETS}}}", "client, instance, job"), steps=((0, "red"), (1, "green"))),
        Column("Late", each("max", late(CLIENTS)), units.Seconds, LATE_STEPS),
        Column("CPU of the machine", each("max", CPU_USAGE.at(CLIENTS)), CPU_USAGE.unit, SHARE_STEPS, 1),
        Column("Cores", each("sum", CPU.rate(CLIENTS))),
        Column("Memory of the machine", each("max", MEMORY_USAGE.at(CLIENTS)), MEMORY_USAGE.unit, SHARE_STEPS, 1),
        Column("Memory", each("sum", MEMORY.at(CLIENTS)), MEMORY.unit),
        Column("Sent", each("sum", SENT.rate(CLIENTS)), SENT.rate_unit),
        Column("Received", each("sum", RECEIVED.rate(CLIENTS)), RECEIVED.rate_unit),
        Column("Power", each("sum", POWER.at(CLIENTS)), POWER.unit),
        Column("Energy", each("sum", f"increase({ENERGY.at(CLIENTS)}[$__range])"), ENERGY.unit),
    ]
    links = [Link(column, "Client detail", CLIENT_URL) for column in ("client", "identifier", "instance")]
    about = (
        "A row a client; a click on its name leads to its details. Energy is that of the time range. A client that is "
        "down has the labels of the scrape configuration only."
    )
    return rows_of("Clients", keys, columns, about, sort_by="CPU of the machine", links=links)


def _cpu_and_memory() -> list[Panel]:
    return [
        _highest(CPU_USAGE, steps=SHARE_STEPS, highest=1),
        _spread(CPU_USAGE),
        _highest(CPU),
        _highest(MEMORY_USAGE, steps=SHARE_STEPS, highest=1),
        _spread(MEMORY_USAGE),
        _highest(MEMORY),
    ]


def _network_and_power() -> list[Panel]:
    both = [
        Query(per_host(SENT.rate(CLIENTS)), "sent"),
        Query(per_host(RECEIVED.rate(CLIENTS)), "received"),
    ]
    return [
        _highest(SENT),
        _highest(RECEIVED),
        graph("Network of the fleet", both, SENT.rate_unit, f"All hosts together. {PER_HOST}"),
        _highest(POWER),
        _highest(ENERGY),
        graph(
            "Power of the fleet",
            [Query(per_host(POWER.at(CLIENTS)), "power")],
            POWER.unit,
            f"All hosts together. {PER_HOST}",
        ),
    ]


def _gpus() -> list[Panel]:
    return [_highest(series) for series in GPUS]


def _highest(series: Series, *, steps: Steps = (), highest: float | None = None) -> Panel:
    about = f"{series.help} The {MOST} clients that were highest over the time range."
    query = Query(series.top(CLIENTS, MOST), NAME)
    return graph(f"{series.title}, highest", [query], series.shown_unit, about, steps=steps, highest=highest)


def _spread(series: Series) -> Panel:
    values = series.shown(CLIENTS)
    queries = [
        Query(f"max({values})", "highest"),
        Query(f"quantile(0.95, {values})", "95 %"),
        Query(f"quantile(0.5, {values})", "median"),
        Query(f"min({values})", "lowest"),
    ]
    about = f"{series.help} How the clients are spread: half of them are below the median."
    return graph(f"{series.title}, spread", queries, series.shown_unit, about)


def _collector() -> list[Panel]:
    by_collector = "{{instance}}"
    late = f"sum by (le, instance) (rate({LAG.name}_bucket[{RATE_WINDOW}]))"
    took = f"{COMMIT_SECONDS.rate('')} / {COMMITS.rate('')}"
    return [
        graph(
            "Samples stored",
            [Query(ACCEPTED.rate(""), by_collector), Query(DUPLICATES.rate(""), f"{by_collector} duplicates")],
            ACCEPTED.rate_unit,
            f"{ACCEPTED.help} Duplicates are told again by clients that had no answer.",
        ),
        graph(
            "Requests refused",
            [Query(f"sum by (reason) ({REFUSED.rate('')})", "{{reason}}")],
            REFUSED.rate_unit,
            REFUSED.help,
        ),
        graph("Lag", [Query(f"histogram_quantile(0.95, {late})", f"{by_collector} 95 %")], LAG.unit, LAG.help),
        graph(
            "Commit", [Query(took, by_collector)], COMMIT_SECONDS.unit, "Mean time of a transaction, the sync included."
        ),
        graph("Database", [Query(STORE.at(""), by_collector)], STORE.unit, STORE.help),
        graph("Listeners", [Query(LISTENERS.at(""), by_collector)], LISTENERS.unit, LISTENERS.help),
        graph(
            "Clients that send",
            [Query(f"sum by (health) ({SENDERS.at('')})", "{{health}}")],
            SENDERS.unit,
            "A client is live while it is heard of, stale when it falls silent, lost after ten minutes unless the "
            "collector was told otherwise.",
        ),
        graph("Pace", [Query(PACE.at(""), by_collector)], PACE.unit, PACE.help),
    ]
