"""How long senders are asked to gather samples: longer the more of them there are, and at once when there are more."""

from __future__ import annotations

import time

import pytest
from flask import Flask

from heflwr.collector import Store, create_app
from heflwr.collector.pace import REQUESTS_SECOND, WINDOW_SECONDS, Pace


class Clock:
    """Stands in for the monotonic one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def heard(pace: Pace, senders: int, times: int = 1) -> int:
    return [pace.heard(f"client-{number}") for _ in range(times) for number in range(senders)][-1]


@pytest.mark.parametrize(
    ("senders", "seconds"),
    [(1, 1), (REQUESTS_SECOND, 1), (REQUESTS_SECOND + 1, 2), (1000, 5), (100_000, int(WINDOW_SECONDS))],
)
def test_all_together_make_so_many_requests(clock: Clock, senders: int, seconds: int) -> None:
    """However often each of them sends, within limits."""
    pace = Pace()
    assert pace.seconds == 1
    assert heard(pace, senders, 2) == seconds == pace.seconds


def test_senders_are_counted_until_a_window_has_passed_without_them(clock: Clock) -> None:
    pace = Pace()
    heard(pace, 1000)
    clock.now += WINDOW_SECONDS
    assert heard(pace, 10) == 5
    clock.now += WINDOW_SECONDS
    assert heard(pace, 10) == 1


def test_after_a_long_silence_nothing_is_left(clock: Clock) -> None:
    pace = Pace()
    heard(pace, 1000)
    clock.now += 10.5 * WINDOW_SECONDS
    assert pace.seconds == 1
    assert heard(pace, 400) == 2


def post(app: Flask, identifier: str) -> str | None:
    body = {"identifier": identifier, "run": "r", "metrics": ["threads"], "rows": [[0, 1.7e9, 1]]}
    answer = app.test_client().post("/simple_log", json=body)
    assert answer.status_code == 200
    return answer.headers.get("Retry-After")


def test_receipts_of_a_large_fleet_say_so(store: Store) -> None:
    """And a client that does as it is told is live."""
    app = create_app(store, rate=0)
    assert post(app, "first") is None
    for number in range(REQUESTS_SECOND):
        asked = post(app, f"client-{number}")
    assert asked == "2"
    text = app.test_client().get("/metrics").text
    assert "heflwr_collector_pace_seconds 2.0" in text
    assert 'heflwr_collector_clients{health="live"} 201.0' in text
