"""What a live coordinator tells others: lines for people, metrics for Prometheus, points for a collector."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from servers import FaultyServer, collector, get, reply
from waiting import wait_for

pytest.importorskip("zmq")

from heflwr.cli.coordinator import described
from heflwr.live import Standing
from heflwr.live.families import FleetFamilies
from heflwr.live.gauges import FleetGauges
from heflwr.live.posting import MOST_WAITING, Poster

STANDING = Standing(
    name="mean cpu_usage",
    unit="percent",
    guarantee="exact",
    reason="f is linear",
    value=12.345678,
    bound=2.0,
    live=3,
    stale=0,
    lost=1,
    messages=7,
    updates=300,
)
AWAITED = replace(STANDING, bound=None, stale=1)


def test_a_line_says_all_that_is_known() -> None:
    """Value, bound, guarantee, who is there, what it took, and who spoke of late."""
    assert described(STANDING, Counter(b=2, a=1)) == (
        "mean cpu_usage 12.3457 +- 2 percent (exact), 3 live, 1 lost; 7 messages for 300 updates; of late from b (2), "
        "a (1)"
    )
    assert "mean cpu_usage 12.3457 +- ? percent (exact), 3 live, 1 stale, 1 lost;" in described(AWAITED, Counter())
    assert "of late from a (1), b (1), c (1) ..." in described(STANDING, Counter("abcd"))


def test_prometheus_reads_each_function(tmp_path: Path) -> None:
    """Names and labels; a bound that is not known is left out, not zero; counters do not fall."""
    standings = [STANDING, replace(STANDING, name="variance", unit="percent^2", guarantee="heuristic")]
    with FleetGauges(lambda: standings, 0) as gauges:
        found = _scraped(gauges.url)
        labels = ("mean cpu_usage", "percent", "exact")
        assert {
            "heflwr_fleet_value": 12.345678,
            "heflwr_fleet_bound": 2.0,
            "heflwr_fleet_live_clients": 3.0,
            "heflwr_fleet_stale_clients": 0.0,
            "heflwr_fleet_lost_clients": 1.0,
            "heflwr_fleet_messages_total": 7.0,
            "heflwr_fleet_messages_avoided_total": 293.0,
        } == {name: values[labels] for name, values in found.items()}
        assert {("variance", "percent^2", "heuristic"), labels} == set(found["heflwr_fleet_value"])
        standings[:] = [replace(AWAITED, messages=200, updates=301)]
        found = _scraped(gauges.url)
        assert {} == found.get("heflwr_fleet_bound", {})
        assert 293.0 == found["heflwr_fleet_messages_avoided_total"][labels]
    with pytest.raises(OSError, match="refused"):
        _scraped(gauges.url)


def _scraped(url: str) -> dict[str, dict[tuple[str, str, str], float]]:
    with urllib.request.urlopen(url, timeout=20) as response:
        text = response.read().decode()
    found: dict[str, dict[tuple[str, str, str], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.labels["function"], sample.labels["unit"], sample.labels["guarantee"])
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def test_families_carry_labels_of_the_whole_fleet() -> None:
    """Whoever serves several fleets can tell them apart."""
    families = FleetFamilies({"fleet": "north"})
    assert all(("fleet", "north") in labels for family in families.collect([STANDING]) for labels, _ in family.rows)


def test_a_collector_gets_each_point_once(tmp_path: Path) -> None:
    """A real collector: it knows the function, its latest point and all points, also one without a bound."""
    with collector(tmp_path / "collector.db") as collected:
        with Poster(collected.url, "server") as poster:
            poster.take([STANDING])
            poster.take([AWAITED])
            wait_for(lambda: poster.posted == 2)
        _, body = get(f"{collected.url}/api/v1/functions")
        (function,) = body["functions"]
        assert ("server", "mean cpu_usage", "percent", "exact", "f is linear") == tuple(
            function[name] for name in ("identifier", "name", "unit", "guarantee", "reason")
        )
        query = f"identifier=server&run={function['run']}&name=mean%20cpu_usage"
        _, body = get(f"{collected.url}/api/v1/functions/points?{query}")
        assert [(12.345678, 2.0, 3, 0, 1, 7, 300), (12.345678, None, 3, 1, 1, 7, 300)] == [
            tuple(point[name] for name in ("value", "bound", "live", "stale", "lost", "messages", "centralization"))
            for point in body["points"]
        ]


def test_points_wait_for_a_collector_that_is_away(tmp_path: Path) -> None:
    """A busy answer is tried again with the same points; a refusal drops them; the token travels in a header."""
    answers = [503, 200, 400, 200]
    bodies: list[dict[str, Any]] = []

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        bodies.append(json.loads(body))
        reply(handler, answers.pop(0))

    with FaultyServer(answer) as server, Poster(server.address, "server", token="secret") as poster:
        poster.take([STANDING])
        wait_for(lambda: poster.posted == 1)
        poster.take([STANDING])
        wait_for(lambda: poster.dropped == 1)
        poster.take([STANDING])
        wait_for(lambda: poster.posted == 2)
    assert [0, 0, 1, 2] == [body["functions"][0]["sequence"] for body in bodies]
    assert 1 == len({body["run"] for body in bodies})
    assert "Bearer secret" == server.requests[0][1]["Authorization"]


def test_points_that_wait_are_bounded() -> None:
    """Nobody is there: the oldest are dropped, and closing does not take long."""
    poster = Poster("http://127.0.0.1:9", "server")
    for _ in range(MOST_WAITING + 5):
        poster.take([STANDING])
    assert 5 == poster.dropped
    with poster:
        pass
    assert 0 == poster.posted


@pytest.mark.parametrize("url", ["ftp://host", "http://", "", "collector"])
def test_a_wrong_url_is_refused_at_the_door(url: str) -> None:
    """It says what one looks like."""
    with pytest.raises(ValueError, match="a collector is http://HOST:PORT"):
        Poster(url, "server")
