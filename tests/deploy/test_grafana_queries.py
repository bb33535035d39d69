"""What the panels ask, asked of a real Prometheus: filled by real monitors, and with a thousand clients."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from grafana_panels import Asked, ask, dashboards, filled, panels
from monitored_world import monitored_world
from programs import need
from prometheus_server import PrometheusServer, prometheus_server

from heflwr.monitor.metrics import METRICS, Kind

pytest.importorskip("zmq")

MOST_LINES = 10
"""In a graph of single clients."""

CLIENTS = 1000
SAMPLES = 8
"""Of each client, a second apart."""

WINDOW_SECONDS = 60
"""Whatever it takes to start Prometheus, the samples are not older."""


class Seen(NamedTuple):
    """What a Prometheus said that had scraped everything.

    Attributes:
        asked: Every query of every panel.
        help: By metric of the expressions, the sentence that came with it.
    """

    asked: list[Asked]
    help: dict[str, str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    with monitored_world(tmp_path_factory.mktemp("world")) as server:
        asked = ask(server)
        return Seen(asked, {name: told(server, name) for one in asked for name in names(one.expr)})


def names(expression: str) -> set[str]:
    """Return heflwr's metrics in an expression."""
    return set(re.findall(r"\bheflwr_\w+", expression))


def told(server: PrometheusServer, name: str) -> str:
    """Return the sentence that endpoints have of a metric, "" where none has it; OpenMetrics leaves suffixes out."""
    families = (name, re.sub(r"_(total|bucket|info)$", "", name))
    return next((entry["help"] for family in families for entry in server.metadata(family)), "")


def test_no_panel_is_empty(seen: Seen) -> None:
    """Every query has series where monitors, a Flower run, a live channel and a collector are scraped."""
    assert len(seen.asked) > 100
    assert [] == [asked for asked in seen.asked if asked.most == 0]


def test_what_else_prometheus_scrapes_is_no_client(seen: Seen) -> None:
    """The fleet has two clients that answer and one that does not; servers, collectors and coordinators are none."""
    (up,) = [
        asked
        for asked in seen.asked
        if asked.title == "Clients" and asked.expr.startswith("max by (client, instance, job) (up")
    ]
    assert 3 == up.most


def test_every_metric_is_one_that_an_endpoint_exposes(seen: Seen) -> None:
    """Also those whose absence counts as none: a renamed metric would be zero for ever."""
    assert [] == [name for name, sentence in seen.help.items() if not sentence]


def test_panels_of_a_client_say_what_the_endpoint_says(seen: Seen) -> None:
    """The sentence of a panel in the client detail is the metric's own."""
    (detail,) = [dashboard for dashboard in dashboards() if dashboard["uid"] == "heflwr-client"]
    courses = [panel for panel in panels(detail) if panel["type"] == "timeseries"]
    assert len(courses) > 15
    for panel in courses:
        (name,) = names(panel["targets"][0]["expr"])
        assert panel["description"].startswith(seen.help[name])


@pytest.mark.parametrize(
    ("instances", "watts"),
    [
        (("10.0.0.7:8003", "10.0.0.7:8004"), 4),
        (("10.0.0.7:8003", "10.0.0.8:8003"), 7),
        (("jetson-7", "jetson-8"), 7),
        (("[2001:db8::7]:8003", "[2001:db8::7]:8004"), 4),
    ],
)
def test_a_host_counts_once_and_every_host_counts(instances: tuple[str, str], watts: int, tmp_path: Path) -> None:
    """Told apart by `instance` without its port, also where a relabelling has made a plain name of it."""
    (overview,) = [dashboard for dashboard in dashboards() if dashboard["uid"] == "heflwr-fleet"]
    (power,) = [panel for panel in panels(overview) if panel["title"] == "Power"]
    values = {variable["name"]: ".*" for variable in overview["templating"]["list"]}
    series = [
        {"series": f'heflwr_power_watts{{job="heflwr", instance="{instance}"}}', "values": f"{value}x5"}
        for instance, value in zip(instances, (3, 4), strict=True)
    ]
    case = {"expr": filled(power["targets"][0]["expr"], values), "eval_time": "1m", "exp_samples": [{"value": watts}]}
    path = tmp_path / "host.yml"
    path.write_text(json.dumps({"tests": [{"input_series": series, "promql_expr_test": [case]}]}))
    result = subprocess.run([need("promtool"), "test", "rules", path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def lines(clients: int) -> Iterator[str]:
    """Yield what a fleet would have exposed in the last seconds, as OpenMetrics; every number differs."""
    now = time.time()
    stamps = [now - SAMPLES + number for number in range(SAMPLES)]
    series = {"up": False, "heflwr_last_sample_timestamp_seconds": False, "heflwr_sample_interval_seconds": False}
    for metric in METRICS:
        if metric.prometheus is not None and not metric.prometheus.labels:
            series[metric.prometheus.name] = metric.kind is Kind.DELTA
    for name, is_counter in series.items():
        yield f"# TYPE {name} {'counter' if is_counter else 'gauge'}"
        for client in range(clients):
            labels = f'{{instance="10.0.{client // 250}.{client % 250}:8003",job="heflwr",identifier="{client}"}}'
            for number, stamp in enumerate(stamps):
                value = (
                    stamp if "timestamp" in name else 1 if name == "up" else client * (number + 1 if is_counter else 1)
                )
                yield f"{name}{'_total' * is_counter}{labels} {value} {stamp:.3f}"
    yield "# EOF"


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus whose blocks hold a thousand clients."""
    folder = tmp_path_factory.mktemp("thousand")
    source = folder / "fleet.txt"
    source.write_text("\n".join(lines(CLIENTS)) + "\n")
    command = [need("promtool"), "tsdb", "create-blocks-from", "openmetrics", str(source), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with prometheus_server(folder, []) as server:
        yield server


def test_a_thousand_clients_are_ten_lines_and_a_table(thousand: PrometheusServer) -> None:
    """Graphs show the clients that stand out or how all are spread, never all; the table has a row each."""
    (overview,) = [dashboard for dashboard in dashboards() if dashboard["uid"] == "heflwr-fleet"]
    values = {variable["name"]: ".*" for variable in overview["templating"]["list"]}
    values |= {"__rate_interval": f"{WINDOW_SECONDS}s", "__range": f"{WINDOW_SECONDS}s"}
    most = 0
    for panel in panels(overview):
        for target in panel["targets"]:
            expression = filled(target["expr"], values)
            if panel["type"] == "table":
                assert CLIENTS == len(thousand.query(expression)), expression
            else:
                count = len(thousand.query_range(expression, WINDOW_SECONDS, WINDOW_SECONDS / 10))
                assert count <= MOST_LINES, expression
                most = max(most, count)
    assert most == MOST_LINES
