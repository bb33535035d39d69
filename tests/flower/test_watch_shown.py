"""Where the fleet's answers go: to Prometheus with the run's other gauges, and to a real collector."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from local_grid import LocalGrid
from prometheus_client.parser import text_string_to_metric_families as families
from prometheus_server import DIRECT
from servers import collector

from heflwr.automon import fleet
from heflwr.flower import FleetPost, Gauges, MonitoredGrid, monitored
from heflwr.flower.watch.lines import Settled

WATCH = [fleet.mean("seconds", bound=5.0), fleet.total("cpu_seconds", bound=5.0)]


def run(grid: MonitoredGrid, rounds: int) -> None:
    for number in range(1, rounds + 1):
        content = RecordDict({"config": ConfigRecord({"server-round": number})})
        grid.send_and_receive([Message(content, dst_node_id=node, message_type="train") for node in (100, 101, 102)])


def nodes() -> LocalGrid:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: object) -> Message:
        return Message(RecordDict(), reply_to=message)

    return LocalGrid(monitored(app, watch=WATCH), 3)


def test_prometheus_sees_the_fleet() -> None:
    """Value, bound, clients and counters, a series a function; before there is a value none is shown."""
    gauges = Gauges(0, host="127.0.0.1")
    with MonitoredGrid(nodes(), sinks=[gauges], watch=WATCH) as grid:
        shown = []
        for rounds in (1, 3):
            run(grid, rounds)
            with DIRECT.open(gauges.url, timeout=10) as answer:
                text = answer.read().decode()
            shown.append(
                {
                    (sample.name, sample.labels["function"]): (sample.value, sample.labels)
                    for family in families(text)
                    for sample in family.samples
                    if sample.name.startswith("heflwr_fleet")
                }
            )
        assert grid.fleet is not None
        first, last = shown
        assert ("heflwr_fleet_value", "mean seconds") not in first
        assert 0.0 == first["heflwr_fleet_live_clients", "mean seconds"][0]
        for name, answer in grid.fleet.items():
            assert (answer.value, answer.bound) == tuple(
                last[f"heflwr_fleet_{what}", name][0] for what in ("value", "bound")
            )
            assert (3, 0) == tuple(last[f"heflwr_fleet_{what}_clients", name][0] for what in ("live", "lost"))
            traffic = grid.fleet.traffic[name]
            assert traffic.reports == last["heflwr_fleet_messages_total", name][0]
            assert traffic.replies - traffic.reports == last["heflwr_fleet_messages_avoided_total", name][0]
        labels = {"function": "mean seconds", "unit": "seconds", "guarantee": "exact"}
        assert labels == last["heflwr_fleet_value", "mean seconds"][1]


def test_a_collector_gets_every_answer(tmp_path: Path) -> None:
    """With its round, and the truth where the app knows it; what is not known yet is null."""

    def truth(settled: Settled) -> float | None:
        if settled.name != "mean seconds":
            raise KeyError(settled.name)
        return {1: None, 2: math.nan}.get(settled.round, 0.25)

    with collector(tmp_path / "collector.db") as collected:
        sink = FleetPost(collected.url, identifier="federation", truth=truth)
        with MonitoredGrid(nodes(), sinks=[sink], watch=WATCH) as grid:
            run(grid, 3)
        assert 6 == sink.posted
        with DIRECT.open(f"{collected.url}/api/v1/functions", timeout=10) as answer:
            (mean, _) = sorted(json.loads(answer.read())["functions"], key=lambda one: one["name"])
        assert ("mean seconds", "federation", "seconds", "exact") == tuple(
            mean[name] for name in ("name", "identifier", "unit", "guarantee")
        )
        query = f"identifier=federation&run={mean['run']}&name=mean%20seconds"
        with DIRECT.open(f"{collected.url}/api/v1/functions/points?{query}", timeout=10) as answer:
            points = json.loads(answer.read())["points"]
    assert grid.fleet is not None
    settled = [one for one in grid.fleet.log if one.name == "mean seconds"]
    assert [1, 2, 3] == [point["round"] for point in points]
    assert (None, None) == (points[0]["value"], points[0]["bound"])
    assert [None, None, 0.25] == [point["truth"] for point in points]
    assert {"a listener: KeyError: 'total cpu_seconds'": 3} == grid.fleet.faults
    assert settled[2].answer.value == points[2]["value"]
    assert [(one.reports, one.replies) for one in settled] == [
        (point["messages"], point["centralization"]) for point in points
    ]


def test_a_collector_that_is_not_there() -> None:
    """Costs the run nothing but a log line."""
    sink = FleetPost("http://127.0.0.1:9", identifier="federation")
    with MonitoredGrid(nodes(), sinks=[sink], watch=WATCH) as grid:
        run(grid, 2)
    assert grid.fleet is not None
    assert 3 == grid.fleet["mean seconds"].live
    assert {} == grid.fleet.faults
    assert {} == grid.history.faults
    assert 0 == sink.posted


def test_a_wrong_address_is_told_at_the_door() -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        FleetPost("ftp://collector")
    with pytest.raises(ValueError, match="identifier"):
        FleetPost("http://collector", identifier="")
    with pytest.raises(TypeError, match="truth must be a function"):
        FleetPost("http://collector", truth=0.5)  # type: ignore[arg-type]
