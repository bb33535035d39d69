"""A run as a Prometheus server sees it: names, sums, what clients may not do to it, and Prometheus itself."""

from __future__ import annotations

import gzip
import http.client
import re
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from clouds_app import Learned, client, server
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from local_grid import LocalGrid, run_app
from programs import need
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families
from prometheus_server import DIRECT, prometheus_server, self_signed
from waiting import wait_for

from heflwr.flower import Entry, History, MonitoredGrid, Overhead, monitored
from heflwr.flower.cost import COLUMNS
from heflwr.flower.server.families import NAMES_MOST, NODES_MOST
from heflwr.flower.server.gauges import Gauges
from heflwr.monitor.errors import SinkUnavailable
from heflwr.monitor.metrics import Kind

Series = tuple[str, frozenset[tuple[str, str]]]


def series(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


def get(gauges: Gauges, **headers: str) -> str:
    request = urllib.request.Request(
        gauges.url, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )
    with DIRECT.open(request, timeout=10) as answer:
        body = answer.read()
        return (gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body).decode()


def scrape(gauges: Gauges) -> dict[Series, float]:
    """Return what a scrape shows; fails where a series is there twice."""
    found: dict[Series, float] = {}
    for family in families(get(gauges)):
        for sample in family.samples:
            key = series(sample.name, **sample.labels)
            assert key not in found
            found[key] = sample.value
    return found


@contextmanager
def serving(history: History | None = None, **options: str | Path) -> Iterator[Gauges]:
    gauges = Gauges(0, host="127.0.0.1", **options)  # type: ignore[arg-type]
    gauges.open(history or History())
    try:
        yield gauges
    finally:
        gauges.close()


def call(
    node: int = 1, round: int = 1, kind: str = "train", *, name: str = "", cost: Mapping[str, float], **rest: object
) -> Entry:
    return Entry(node, name or f"node {node}", round, kind, 0.0, 1.0, cost=cost, **rest)  # type: ignore[arg-type]


EVERYTHING = {column.name: float(number) for number, column in enumerate(COLUMNS, 1)}


def full_run(gauges: Gauges, history: History) -> None:
    """Every family there is gets a value."""
    history.note(1, accuracy=0.75)
    history.overhead = Overhead(cpu_seconds=3.0, clients_cpu_seconds=1.0)
    history.fault("probe", ValueError("no"))
    gauges.sent("train", 1, 2)
    gauges.entry(call(1, cost=EVERYTHING, metrics={"loss": 0.5, "num-examples": 1.0}))
    gauges.entry(call(2, cost=EVERYTHING, metrics={"loss": 1.5, "num-examples": 3.0}))
    gauges.entry(Entry(3, "3", 1, "train", 0.0, status="lost"))


def test_a_scrape_in_the_middle_of_a_run_adds_up_to_its_history() -> None:
    """What a federation's ServerApp serves are the sums of what its clients reported, by node and type of message."""
    gauges = Gauges(0, host="127.0.0.1")
    inner, seen = server(Learned()), []
    outer = ServerApp()

    @outer.main()
    def main(grid: Grid, context: Context) -> None:
        inner(grid, context)
        seen.append(scrape(gauges))

    app = monitored(outer, sinks=[gauges])
    run_app(app, monitored(client()))
    [found] = seen
    for node in ("0", "1", "2"):
        for kind in ("train", "evaluate"):
            calls = [entry for entry in app.history.entries if (entry.name, entry.kind) == (node, kind)]
            assert 2 == len(calls)
            for column, name in (
                ("cpu_seconds", "heflwr_client_cpu_seconds"),
                ("seconds", "heflwr_client_call_seconds"),
            ):
                total = sum(entry.cost[column] for entry in calls)
                assert pytest.approx(total) == found[series(f"{name}_total", node=node, kind=kind)]
        last = [entry for entry in app.history.entries if entry.name == node][-1]
        assert last.cost["memory_peak_bytes"] == found[series("heflwr_client_memory_peak_bytes", node=node)]
        usage = found[series("heflwr_client_cpu_usage_ratio", node=node)]
        assert pytest.approx(last.cost["cpu_usage"] / 100) == usage
    assert 6 == found[series("heflwr_flower_messages_total", kind="train", status="ok")]
    assert 3 == found[series("heflwr_flower_nodes")]
    assert 2 == found[series("heflwr_flower_round")]
    assert found[series("heflwr_flower_straggler_ratio")] >= 1
    assert 0 < found[series("heflwr_flower_score", metric="accuracy", source="evaluate")] <= 1
    with pytest.raises(urllib.error.URLError):  # the run is over
        scrape(gauges)


def test_every_exported_column_is_served_in_base_units() -> None:
    """Columns that add up are counters by node and type; the others show the last call; scaled as the table says."""
    history = History()
    with serving(history) as gauges:
        full_run(gauges, history)
        found = scrape(gauges)
    for column in COLUMNS:
        if column.prometheus is not None:
            value = EVERYTHING[column.name] * column.prometheus.scale
            if column.kind is Kind.DELTA:
                key = series(f"{column.prometheus.name}_total", node="node 1", kind="train")
            else:
                key = series(column.prometheus.name, node="node 1")
            assert pytest.approx(value) == found[key]


def test_promtool_finds_no_fault() -> None:
    """`promtool check metrics` is content with every family, and nothing is without a sentence of help."""
    history = History()
    with serving(history) as gauges:
        full_run(gauges, history)
        text = get(gauges)
    result = subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)
    assert ("", "", 0) == (result.stdout, result.stderr, result.returncode)
    assert 11 + sum(column.prometheus is not None for column in COLUMNS) == text.count("# TYPE ")
    assert [] == re.findall(r"# HELP (\w+) (?![A-Z].*\.$)", text, re.M)


def test_openmetrics_and_gzip_are_served_to_those_who_ask() -> None:
    """OpenMetrics' own strict parser reads the same series as that of the text format."""
    history = History()
    with serving(history) as gauges:
        full_run(gauges, history)
        text = get(
            gauges, Accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5", Accept_Encoding="gzip"
        )
        plain = scrape(gauges)
    parsed = {series(one.name, **one.labels): one.value for family in openmetrics(text) for one in family.samples}
    assert plain == parsed


def test_the_models_scores_are_served() -> None:
    """What the server noted last, and the latest round's replies weighted by examples; a reply that is late is not."""
    history = History()
    with serving(history) as gauges:
        history.note(1, accuracy=0.5, f1=0.25)
        history.note(2, accuracy=0.75)
        for number, value in ((1, 9.0), (2, 1.0), (1, 9.0)):
            for weight in (1.0, 3.0):
                metrics = {"loss": value * weight, "num-examples": weight}
                gauges.entry(call(int(weight), number, "evaluate", cost={}, metrics=metrics))
        found = {key: value for key, value in scrape(gauges).items() if key[0] == "heflwr_flower_score"}
        assert {
            series("heflwr_flower_score", metric="accuracy", source="server"): 0.75,
            series("heflwr_flower_score", metric="f1", source="server"): 0.25,
            series("heflwr_flower_score", metric="loss", source="evaluate"): 2.5,
        } == found
        history.note(3, accuracy=0.875)  # nothing else has changed
        assert 0.875 == scrape(gauges)[series("heflwr_flower_score", metric="accuracy", source="server")]


def test_the_straggler_ratio_is_that_of_the_last_training() -> None:
    """The slowest call of the latest round over the median one; evaluations and rounds before do not count."""
    with serving() as gauges:
        assert series("heflwr_flower_straggler_ratio") not in scrape(gauges)
        for number, kind, durations in ((1, "train", (1, 1, 9)), (2, "train", (2, 2, 6)), (2, "evaluate", (1, 1, 99))):
            for node, seconds in enumerate(durations):
                gauges.entry(call(node, number, kind, cost={"seconds": float(seconds)}))
        assert 3 == scrape(gauges)[series("heflwr_flower_straggler_ratio")]


def test_the_energy_of_a_round_is_told_when_it_is_over() -> None:
    """All its calls together, beside the median of five rounds or more before it; what comes late counts nowhere."""
    spent, usual = series("heflwr_flower_round_energy_joules"), series("heflwr_flower_round_energy_median_joules")
    told = []
    with serving() as gauges:
        for number, joules in enumerate((5.0, 1.0, 2.0, 4.0, 3.0, 9.0), 1):
            gauges.sent("train", number, 2)
            for kind in ("train", "evaluate"):
                gauges.sent(kind, number, 2)
                gauges.entry(call(1, number, kind, cost={"energy_joules": joules / 2}))
            gauges.entry(call(2, number - 1, cost={"energy_joules": 1e6}))
            found = scrape(gauges)
            told.append((found.get(spent), found.get(usual)))
        for number in (7, 8):  # nobody measures the seventh
            gauges.sent("train", number, 2)
            found = scrape(gauges)
            told.append((found.get(spent), found.get(usual)))
    assert [(None, None), *((joules, None) for joules in (5, 1, 2, 4, 3)), (9, 3), (9, 3)] == told


def test_calls_that_told_their_cost_are_counted() -> None:
    """By node and type, as the seconds are that they took, so that the mean of a call can be asked for."""
    with serving() as gauges:
        for kind in ("train", "train", "evaluate"):
            gauges.entry(call(1, kind=kind, cost={"seconds": 1.5}))
        gauges.entry(call(1, cost={}))
        found = scrape(gauges)
    calls = {
        dict(labels)["kind"]: value for (name, labels), value in found.items() if name == "heflwr_client_calls_total"
    }
    assert {"train": 2, "evaluate": 1} == calls


def test_faults_overhead_and_lost_messages_are_counted() -> None:
    """What went wrong, in heflwr or with a message, and what the run cost besides the clients' calls; none falls."""
    history = History()
    with serving(history) as gauges:
        full_run(gauges, history)
        history.fault("probe", "again")
        found = scrape(gauges)
        assert 2 == found[series("heflwr_flower_overhead_cpu_seconds_total")]
        assert 2 == found[series("heflwr_flower_faults_total", part="probe")]
        assert 1 == found[series("heflwr_flower_messages_total", kind="train", status="lost")]
        history.overhead = Overhead(cpu_seconds=3.0, clients_cpu_seconds=2.5)
        assert 2 == scrape(gauges)[series("heflwr_flower_overhead_cpu_seconds_total")]


def test_a_counter_never_falls() -> None:
    """A client that reports negative seconds changes nothing."""
    with serving() as gauges:
        for seconds in (2.0, -1.5, 1.0):
            gauges.entry(call(1, cost={"cpu_seconds": seconds}))
        assert 3 == scrape(gauges)[series("heflwr_client_cpu_seconds_total", node="node 1", kind="train")]


def test_what_clients_call_themselves_does_no_harm() -> None:
    """Quotes, lines, half characters: the scrape stays well-formed, and the name is one label."""
    names = ['a"b\\c\nd{}', "\ud800 half", "日本\x1b[31m", "x" * 10_000]
    with serving() as gauges:
        for node, name in enumerate(names):
            gauges.entry(call(node, name=name, cost={"seconds": 1.0}, metrics={name: 1.0}))
        found = scrape(gauges)
    labels = {dict(key[1])["node"] for key in found if key[0] == "heflwr_client_call_seconds_total"}
    assert {names[0], "? half", names[2], "x" * 100} == labels


def test_a_node_has_one_name_and_a_name_one_series() -> None:
    """A client that changes its name goes on under the first; two of one name, as after a restart, are one series."""
    with serving() as gauges:
        for round_number, (node, name) in enumerate(((1, "a"), (1, "b"), (2, "a")), 1):
            gauges.entry(call(node, round_number, name=name, cost={"seconds": 1.0, "power_watts": float(node)}))
        found = scrape(gauges)
    assert 3 == found[series("heflwr_client_call_seconds_total", node="a", kind="train")]
    assert 2 == found[series("heflwr_client_power_watts", node="a")]
    assert {"a"} == {dict(key[1])["node"] for key in found if key[0].startswith("heflwr_client_")}


def test_two_live_nodes_of_one_name_are_two() -> None:
    """The later one is shown under its id, also where it was taken for the first one come back."""
    with serving() as gauges:
        for node, number in ((1, 1), (2, 1), (1, 2), (2, 2), (3, 3), (1, 4), (3, 5)):
            gauges.entry(call(node, number, name="a", cost={"seconds": 1.0}))
        found = scrape(gauges)
    seconds = {
        dict(labels)["node"]: value for (name, labels), value in found.items() if name.endswith("call_seconds_total")
    }
    assert {"a": 4, "2": 2, "3": 1} == seconds  # the first call of 3 was taken for one of 1


def test_there_is_an_end_to_the_series() -> None:
    """Nodes beyond the bound are counted and left out; too many types of message share one label, scores are cut."""
    with serving() as gauges:
        for node in range(NODES_MOST + 7):
            gauges.entry(call(node, cost={"seconds": 1.0}))
        for number in range(NAMES_MOST + 7):
            gauges.entry(call(1, kind=f"query.{number}", cost={"seconds": 1.0}))
            gauges.entry(call(1, kind="train", cost={}, metrics={f"metric {number}": 1.0}))
        found = scrape(gauges)
        names = [name for name, _ in found]
        nodes = {dict(labels)["node"] for name, labels in found if name == "heflwr_client_call_seconds_total"}
        assert NODES_MOST == len(nodes)
        assert NODES_MOST + 7 == found[series("heflwr_flower_nodes")]
        assert 7 == found[series("heflwr_flower_nodes_left_out")]
        assert NAMES_MOST == names.count("heflwr_flower_score")
        assert NAMES_MOST + 1 == names.count("heflwr_flower_messages_total")
        assert 8 == found[series("heflwr_client_call_seconds_total", node="node 1", kind="other")]


def test_a_port_in_use_is_told_before_anything_is_sent() -> None:
    """The grid does not open, and the text names the port and the way out; nothing of the other one is disturbed."""
    with serving() as first:
        second = Gauges(first.port, host="127.0.0.1")
        with pytest.raises(SinkUnavailable, match=rf"port {first.port} .*in use.*port=0"):
            MonitoredGrid(LocalGrid(client()), sinks=[second])
        second.close()
        assert 0 == scrape(first)[series("heflwr_flower_nodes")]


def test_the_port_is_free_after_the_run_and_the_next_run_begins_at_zero() -> None:
    """close() may come first or twice; open() once more starts afresh on the same port."""
    gauges = Gauges(0, host="127.0.0.1")
    gauges.close()
    gauges.open(History())
    gauges.entry(call(cost={"seconds": 1.0}))
    again = Gauges(gauges.port, host="127.0.0.1")
    gauges.close()
    gauges.close()
    again.open(History())
    try:
        assert 0 == scrape(again)[series("heflwr_flower_nodes")]
        again.open(History())
        assert 0 == scrape(again)[series("heflwr_flower_nodes")]
    finally:
        again.close()


def test_a_name_and_a_password_can_be_asked_for(tmp_path: Path) -> None:
    """HTTPS and basic authentication, as of the monitor's own sink: without them there is nothing to see."""
    certfile, keyfile = self_signed(tmp_path)
    with serving(certfile=certfile, keyfile=keyfile, username="ann", password="secret") as gauges:
        import ssl

        connection = http.client.HTTPSConnection(
            "127.0.0.1", gauges.port, context=ssl.create_default_context(cafile=str(certfile)), timeout=10
        )
        statuses = []
        for password in ("wrong", "secret"):
            token = b64encode(f"ann:{password}".encode()).decode()
            connection.request("GET", "/metrics", headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            statuses.append((answer.status, b"heflwr_flower_round" in answer.read()))
            connection.close()
    assert [(401, False), (200, True)] == statuses


@pytest.mark.parametrize(("options", "error"), [({"port": 70000}, ValueError), ({"keyfile": "key.pem"}, ValueError)])
def test_wrong_arguments_are_told_at_the_door(options: dict[str, int | str], error: type[Exception]) -> None:
    """The constructor checks what it can."""
    with pytest.raises(error):
        Gauges(**options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_prometheus_scrapes_a_run_and_answers(tmp_path: Path) -> None:
    """A real Prometheus takes the exposition as OpenMetrics, with types, and sums over nodes."""
    history = History()
    with serving(history) as gauges:
        full_run(gauges, history)
        job = {"job_name": "flower", "static_configs": [{"targets": [f"127.0.0.1:{gauges.port}"]}]}
        with prometheus_server(tmp_path, [job]) as prometheus:
            wait_for(lambda: prometheus.query("heflwr_flower_round"), what="a scrape")
            assert "up" == prometheus.targets()["flower"]["health"]
            seconds = 2 * EVERYTHING["cpu_seconds"]
            assert seconds == prometheus.value("sum(heflwr_client_cpu_seconds_total)")
            nodes = {labels["node"] for labels, _ in prometheus.query("heflwr_client_memory_peak_bytes")}
            assert {"node 1", "node 2"} == nodes
            assert 1.25 == prometheus.value('heflwr_flower_score{metric="loss"}')
            assert 3 == prometheus.value("sum(heflwr_flower_messages_total)")
            told = prometheus.metadata("heflwr_client_energy_joules")  # OpenMetrics: without the suffix
            assert [("counter", "joules")] == [(one["type"], one["unit"]) for one in told]
            gauges.entry(call(1, 2, cost={"cpu_seconds": 100.0}))
            wait_for(lambda: prometheus.value("sum(heflwr_client_cpu_seconds_total)") == seconds + 100, what="news")
