"""What the collector makes of samples: the fleet, series, aggregates, files, events."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from flask.testing import FlaskClient

from heflwr.collector import Store, create_app
from heflwr.collector.events import Hub
from heflwr.collector.fleet import Fleet
from heflwr.collector.pace import WINDOW_SECONDS, Pace
from heflwr.collector.records import Row, SampleBatch
from heflwr.collector.spans import span
from heflwr.collector.store import reading
from heflwr.collector.store.rolling import Tails

T0 = 1_700_000_040.0
"""A minute begins here."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "heflwr.db") as store:
        yield store


@pytest.fixture
def client(store: Store) -> FlaskClient:
    return create_app(store, rate=0).test_client()


METRICS = ["cpu_usage", "memory_usage", "network_bytes_sent", "network_bytes_recv", "power_vdd_in"]


def send(client: FlaskClient, identifier: str, at: float, count: int, *, first: int = 0, **more: Any) -> None:
    rows = [[first + row, at + row, 10.0 * (row % 3), 50, 100, 200, 4000] for row in range(count)]
    body = {"identifier": identifier, "run": "r", "metrics": METRICS, "rows": rows, **more}
    answer = client.post("/log", json=body)
    assert answer.json == {"accepted": count, "duplicates": 0}


def get(client: FlaskClient, path: str, **query: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", query_string=query)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_the_fleet_tells_who_lives_and_what_each_uses(client: FlaskClient) -> None:
    """Counts, totals, the latest values and lines in the units that people read."""
    now = time.time()
    send(client, "a", now - 119, 120, host="jetson", interval=1)
    send(client, "b", now - 119, 120)
    fleet = get(client, "fleet", points=60)
    assert (fleet["counts"], fleet["step"]) == ({"live": 2, "stale": 0, "lost": 0}, 60)
    assert fleet["totals"] == {
        "cpu_usage_mean": 20,
        "memory_usage_mean": 50,
        "network_bytes": 2 * 120 * 300,
        "power_watts": 8,
    }
    first = fleet["clients"][0]
    assert (first["identifier"], first["host"], first["samples"], first["health"]) == ("a", "jetson", 120, "live")
    assert first["latest"]["power_vdd_in"] == 4000
    drawn = {name: [value for value in line if value is not None] for name, line in first["spark"].items()}
    assert set(drawn["power"]) == {4}
    assert set(drawn["network"]) == {300}
    assert all(len(line) in (60, 61) for line in first["spark"].values())


def test_an_empty_fleet_is_an_answer(client: FlaskClient) -> None:
    """Nobody has sent anything yet."""
    fleet = get(client, "fleet")
    assert fleet["clients"] == []
    assert fleet["totals"]["cpu_usage_mean"] is None


def test_lines_that_are_remembered_are_as_fresh_as_those_that_are_not(client: FlaskClient, store: Store) -> None:
    """However samples come and rollups follow, the fleet shows what a collector shows that knows nothing yet."""
    span = {"since": T0, "until": T0 + 3599, "points": 60}
    sequence = 0

    def same() -> None:
        fresh = create_app(store, rate=0).test_client()
        assert get(client, "fleet", **span)["clients"] == get(fresh, "fleet", **span)["clients"]

    for at, count in ((0, 90), (90, 200), (1000, 30), (400, 500), (1030, 1), (2000, 100), (1200, 60)):
        send(client, "a", T0 + at, count, first=sequence, interval=1)
        sequence += count
        same()
        if at != 1000:
            store.roll()
        same()


def test_lines_that_were_read_ahead_are_the_same(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server reads a day at its start: who looks first finds all but the newest step of it remembered."""
    send(client, "a", T0, 3000)
    store.roll()
    now = T0 + 7200
    day = span(now - 86400, now, 60, 60.0)
    fresh = Fleet(store, Tails(), Pace()).view(day, (), 10, now)["clients"][0]["spark"]
    fleet = Fleet(store, Tails(), Pace())
    fleet.remember(now)
    read: list[int] = []
    packed_buckets = reading.packed_buckets

    def counted(*which: Any) -> Iterator[Any]:
        for columns_id, numbers, packed in packed_buckets(*which):
            read.extend(numbers)
            yield columns_id, numbers, packed

    monkeypatch.setattr(reading, "packed_buckets", counted)
    assert fresh == fleet.view(day, (), 10, now)["clients"][0]["spark"]
    assert 0 < len(read) <= 30  # minutes; of fifty


def test_reading_ahead_ends_when_the_server_does(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks between some clients and the next ones, and does not ask again."""
    for name in "abc":
        send(client, name, T0, 10)
    monkeypatch.setattr("heflwr.collector.fleet.AHEAD_AT_ONCE", 1)
    said = iter([False, True])
    Fleet(store, Tails(), Pace()).remember(T0 + 60, lambda: next(said))
    assert list(said) == []


def test_only_the_clients_asked_for_come(client: FlaskClient) -> None:
    """identifier= may be given several times; limit cuts, and says so."""
    for name in "abc":
        send(client, name, T0, 1)
    assert [c["identifier"] for c in get(client, "fleet", identifier=["a", "c"])["clients"]] == ["a", "c"]
    assert get(client, "fleet", limit=2)["truncated"] is True


@pytest.mark.parametrize(
    ("silence", "health"), [(5, "live"), (29, "live"), (31, "stale"), (599, "stale"), (601, "lost")]
)
def test_silence_makes_stale_and_lost(store: Store, silence: float, health: str) -> None:
    """Three intervals, at least ten seconds, then ten minutes, by the collector's own clock."""
    client = create_app(store, rate=0).test_client()
    send(client, "board from 1970", 100.0, 2, interval=10)
    with store.reading() as reader:
        (run,) = reading.runs(reader)
    assert Fleet(store, Tails(), Pace()).health(run, run.received + silence) == health


def test_who_gathers_as_long_as_it_was_asked_to_is_live(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as long, where that is more than ten seconds; also while fewer send than did."""
    client = create_app(store, rate=0).test_client()
    send(client, "a", T0, 2)
    with store.reading() as reader:
        (run,) = reading.runs(reader)
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace()
    fleet = Fleet(store, Tails(), pace)
    for number in range(1000):
        pace.heard(f"{number}")
    now += WINDOW_SECONDS
    pace.heard("0")
    now += WINDOW_SECONDS - 1
    assert pace.longest == 5
    assert [fleet.health(run, run.received + silence) for silence in (14.9, 15.1)] == ["live", "stale"]


@pytest.mark.parametrize("step", [1, 10, 30, 60, 300, 900])
@pytest.mark.parametrize("is_rolled", [True, False])
def test_series_are_the_samples_at_any_step(client: FlaskClient, store: Store, step: int, is_rolled: bool) -> None:
    """Counts, extremes and means of every step are those of the samples in it."""
    send(client, "a", T0, 1000)
    if is_rolled:
        store.roll()
    found = get(client, "series", identifier="a", metric="cpu_usage", since=T0, until=T0 + 999, step=step)
    (line,) = found["series"]
    expected: dict[int, list[float]] = {}
    for row in range(1000):
        expected.setdefault(int((T0 + row - found["start"]) // step), []).append(10.0 * (row % 3))
    assert found["step"] == step
    assert line["count"] == [len(expected.get(at, [])) for at in range(len(line["count"]))]
    for at, values in expected.items():
        assert (line["min"][at], line["max"][at]) == (min(values), max(values))
        assert line["mean"][at] == pytest.approx(sum(values) / len(values))


def test_series_compare_runs_and_clients(client: FlaskClient) -> None:
    """Several identifiers on one axis, each with its unit; what has no value in the span is left out."""
    send(client, "a", T0, 10, units={"cpu_usage": "percent of a core"})
    send(client, "b", T0 + 5, 10)
    send(client, "c", T0 + 5000, 10)
    query = {"identifier": ["a", "b", "c"], "metric": "cpu_usage", "since": T0, "until": T0 + 20}
    found = get(client, "series", **query)
    assert [(line["identifier"], line["unit"]) for line in found["series"]] == [
        ("b", "percent"),
        ("a", "percent of a core"),
    ]
    assert {len(line["mean"]) for line in found["series"]} == {len(found["series"][0]["mean"])}


def test_aggregates_are_over_clients(client: FlaskClient) -> None:
    """mean, min, max, sum and quantiles of the clients' means, a bucket each."""
    for client_number in range(5):
        rows = [[row, T0 + row, client_number] for row in range(60)]
        body = {"identifier": f"c{client_number}", "run": "r", "metrics": ["threads"], "rows": rows}
        client.post("/simple_log", json=body)
    for function, expected in (("mean", 2), ("min", 0), ("max", 4), ("sum", 10), ("p50", 2), ("p95", 3.8)):
        found = get(client, "aggregate", metric="threads", function=function, since=T0, until=T0 + 59, step=60)
        assert found["values"] == [pytest.approx(expected)]


def test_aggregates_are_exact_whatever_is_rolled_up(client: FlaskClient, store: Store) -> None:
    """Gaps, runs that change their metrics, several runs of a client, samples that came just now."""
    begin, step = 1_700_000_400, 600
    batches: list[SampleBatch] = []
    expected: list[dict[str, list[float]]] = [{}, {}, {}, {}]
    for at in [*range(0, 600, 20), *range(1200, 2400, 20)]:
        name, run = f"c{at % 3}", f"r{at % 2}"
        metrics, values = (("threads", "cpu_usage"), (None, float(at))) if at < 1500 else (("cpu_usage",), (float(at),))
        batches.append(SampleBatch(name, run, metrics, (Row(at, begin + at, values),), {}))
        expected[at // step].setdefault(name, []).append(at)
    for part in (batches[:20], batches[20:60]):
        store.add_samples(*part)
        store.roll()
    store.add_samples(*batches[60:])
    found = get(
        client, "aggregate", metric="cpu_usage", function="max", since=begin, until=begin + 4 * step - 1, step=step
    )
    means = [max((sum(of) / len(of) for of in clients.values()), default=None) for clients in expected]
    assert (found["start"], found["values"]) == (begin, pytest.approx(means))


def test_exports_hold_every_sample(client: FlaskClient) -> None:
    """CSV, JSON lines and Parquet have the same rows; a name that a spreadsheet would run is quoted in CSV."""
    send(client, "=1+1", T0, 2500)
    send(client, "b", T0, 3)
    rows = list(csv.reader(io.StringIO(client.get("/api/v1/export?format=csv").text)))
    assert rows[0] == ["identifier", "run", "sequence", "time", *METRICS]
    assert len(rows) == 1 + 2503
    assert {row[0] for row in rows[1:]} == {"'=1+1", "b"}
    lines = [json.loads(line) for line in client.get("/api/v1/export?format=jsonl&identifier=b").text.splitlines()]
    assert [(line["identifier"], line["sequence"], line["values"]["cpu_usage"]) for line in lines] == [
        ("b", 0, 0),
        ("b", 1, 10),
        ("b", 2, 20),
    ]
    table = pyarrow.parquet.read_table(io.BytesIO(client.get("/api/v1/export?format=parquet&metric=cpu_usage").data))
    assert (table.num_rows, table.column_names[3:]) == (2503, ["time", "cpu_usage"])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("series", "at least one identifier"),
        ("series?identifier=a&points=5&step=5", "not both"),
        ("series?identifier=a&step=61", "whole minutes"),
        ("series?identifier=a&step=0.001", "at most 5000 come"),
        ("series?identifier=a&since=10&until=5", "not be before since"),
        ("aggregate?function=mean", "metric is missing"),
        ("aggregate?metric=a&function=median", "must be one of mean"),
        ("aggregate?metric=a&step=10", "at least 60 seconds"),
        ("fleet?points=0", "from 1 to 1000"),
        ("fleet?points=1.5", "must be an integer"),
        ("export?format=xlsx", "must be one of csv"),
        ("functions/points?identifier=a", "run is missing"),
        ("runs?run=a%00", "names of 256"),
        ("windows?identifier=a&identifier=b", "once only"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(client: FlaskClient, path: str, reason: str) -> None:
    """400 and a sentence."""
    answer = client.get(f"/api/v1/{path}")
    assert (answer.status_code, reason in answer.json["error"]) == (400, True), answer.json


def test_large_answers_are_packed_where_asked(client: FlaskClient) -> None:
    """gzip for those who take it, with a word for caches."""
    send(client, "a", T0, 500)
    plain = client.get("/api/v1/samples")
    packed = client.get("/api/v1/samples", headers={"Accept-Encoding": "gzip"})
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert len(packed.data) < len(plain.data) / 3


def test_functions_are_taken_and_shown(client: FlaskClient) -> None:
    """A point may be unknown; what is no number is refused."""
    point = {"name": "imbalance", "unit": "percent", "guarantee": "proved", "reason": "by a zone", "time": T0}
    body = {"identifier": "server", "run": "x", "functions": [{**point, "sequence": 0, "value": None, "bound": None}]}
    assert client.post("/api/v1/functions", json=body).json == {"accepted": 1, "duplicates": 0}
    assert client.post("/api/v1/functions", json=body).json == {"accepted": 0, "duplicates": 1}
    (found,) = get(client, "functions")["functions"]
    assert (found["reason"], found["latest"]["value"]) == ("by a zone", None)
    body["functions"][0]["value"] = "high"
    answer = client.post("/api/v1/functions", json=body)
    assert (answer.status_code, "functions[0].value must be a number" in answer.json["error"]) == (400, True)


def test_windows_come_beside_rows_or_alone(client: FlaskClient) -> None:
    """A body may have windows and no rows; a window that ends before it starts is refused."""
    window = {"name": "round 3", "start": T0, "end": None}
    assert client.post("/log", json={"identifier": "a", "run": "r", "rows": [], "windows": [window]}).json == {
        "accepted": 0,
        "duplicates": 0,
    }
    send(client, "a", T0, 3, windows=[{**window, "end": T0 + 2}])
    assert get(client, "windows", identifier="a")["windows"] == [
        {"identifier": "a", "run": "r", "name": "round 3", "start": T0, "end": T0 + 2, "labels": {}}
    ]
    body = {"identifier": "a", "run": "r", "windows": [{**window, "end": T0 - 1}]}
    assert client.post("/log", json=body).status_code == 400


def test_listeners_hear_who_has_sent() -> None:
    """Each hears it, gathered, at most once a second; who listens last but too many is refused."""
    hub = Hub(listeners_max=2)
    first, second = hub.listen(), hub.listen()
    assert first is not None
    assert second is not None
    assert hub.listen() is None
    assert next(first).startswith(b"retry:")
    hub.tell("a", False)
    hub.tell("b", False)
    hub.tell("server", True)
    event = next(first).decode()
    assert event.startswith("event: update\ndata: ")
    data = json.loads(event.partition("data: ")[2])
    assert (data["clients"], data["functions"]) == (["a", "b"], True)
    second.close()
    assert hub.listeners == 1
    closer = threading.Timer(0.05, hub.close)
    closer.start()
    with pytest.raises(StopIteration):
        next(first)
    closer.join()


def test_too_many_listeners_are_asked_to_poll(store: Store) -> None:
    """503 with Retry-After."""
    answer = create_app(store, listeners=0).test_client().get("/api/v1/events")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)


def strict(client: FlaskClient, path: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}, which no browser reads")

    return json.loads(client.get(f"/api/v1/{path}").data, parse_constant=refuse)


def test_the_greatest_numbers_of_one_client_leave_every_answer_readable(client: FlaskClient) -> None:
    """Sums, rates and totals of what is taken are finite: one client cannot make the page unreadable for all."""
    now = time.time()
    body = {"identifier": "a", "run": "r", "metrics": ["cpu_usage", "network_bytes_sent"], "interval": 1e-6}
    for identifier in "ab":
        rows = [[row, now - 90 + row, 1e150, 1e150] for row in range(60)]
        assert client.post("/log", json={**body, "identifier": identifier, "rows": rows}).status_code == 200
    close = {**body, "identifier": "c", "rows": [[0, 0, 1e150, 1e150], [1, 5e-324, 1e150, 1e150]]}
    del close["interval"]
    assert client.post("/log", json=close).status_code == 200
    for path in ("fleet", "fleet?since=0", "summaries", "runs", "series?identifier=a", "series?identifier=c&since=0"):
        strict(client, path)
    for function in ("mean", "sum", "p95"):
        strict(client, f"aggregate?metric=cpu_usage&function={function}")


def test_a_fleet_asked_for_all_times_begins_with_its_first_sample(client: FlaskClient) -> None:
    """`since=0` shows the whole history in as many steps, not one step of a year; a clock that is off moves nothing."""
    now = time.time()
    send(client, "a", now - 7200, 1)
    send(client, "b", now - 60, 60)
    send(client, "board without a battery", 100.0, 5)
    fleet = get(client, "fleet", since=0, points=60)
    assert fleet["step"] <= 300
    assert fleet["start"] <= now - 7200
    assert sum(value is not None for value in fleet["clients"][0]["spark"]["cpu_usage"]) == 1
