"""Who can be scraped: registrations are checked, hold for their lease, and come out as Prometheus reads them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heflwr.collector.records import Refusal
from heflwr.collector.targets import LEASE_SECONDS, Targets, parse_registration

GOOD: dict[str, Any] = {"identifier": "client 7", "run": "9f86", "target": "board-7.lab:8003"}


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_target_is_there_until_its_lease_ends() -> None:
    """A registration holds for 300 s, a renewal for as many more, and then it is gone."""
    clock = Clock()
    targets = Targets(clock=clock)
    assert targets.register(parse_registration(GOOD)) == LEASE_SECONDS
    expected = [
        {
            "targets": ["board-7.lab:8003"],
            "labels": {"__meta_heflwr_identifier": "client 7", "__meta_heflwr_run": "9f86"},
        }
    ]
    clock.now += 299
    assert targets.service_discovery() == expected
    targets.register(parse_registration(GOOD))
    clock.now += 299
    assert targets.service_discovery() == expected
    clock.now += 1
    assert targets.service_discovery() == []


def test_labels_and_the_scheme_of_a_target_reach_prometheus() -> None:
    """They stand beside the labels that say whose target it is, which nobody can give themselves."""
    targets = Targets()
    targets.register(parse_registration({**GOOD, "labels": {"site": "lab", "__scheme__": "https"}}))
    (group,) = targets.service_discovery()
    assert group["labels"] == {
        "site": "lab",
        "__scheme__": "https",
        "__meta_heflwr_identifier": "client 7",
        "__meta_heflwr_run": "9f86",
    }


def test_a_lease_of_0_withdraws_the_run_that_says_it_and_no_later_one() -> None:
    """A monitor that restarts on its port is not thrown out by the late goodbye of its former run."""
    targets = Targets()
    targets.register(parse_registration(GOOD))
    targets.register(parse_registration({**GOOD, "run": "later"}))
    assert targets.register(parse_registration({**GOOD, "lease": 0})) == 0
    assert [group["labels"]["__meta_heflwr_run"] for group in targets.service_discovery()] == ["later"]
    targets.register(parse_registration({**GOOD, "run": "later", "lease": 0}))
    assert targets.service_discovery() == []
    assert targets.register(parse_registration({**GOOD, "lease": 0})) == 0  # it was not there


def test_two_clients_on_one_address_are_two() -> None:
    """Nobody can push another client out by claiming its address."""
    targets = Targets()
    targets.register(parse_registration(GOOD))
    targets.register(parse_registration({**GOOD, "identifier": "other"}))
    assert len(targets.service_discovery()) == 2


def test_there_is_a_bound_and_it_does_not_keep_out_who_is_in() -> None:
    """One too many gets 429; a renewal does not, and leases that have run out make room."""
    clock = Clock()
    targets = Targets(limit=2, clock=clock)
    for port in (1, 2):
        targets.register(parse_registration({**GOOD, "target": f"h:{port}"}))
        clock.now += 100
    with pytest.raises(Refusal, match="there are 2 targets already") as raised:
        targets.register(parse_registration({**GOOD, "target": "h:3"}))
    assert raised.value.status == 429
    targets.register(parse_registration({**GOOD, "target": "h:2"}))
    clock.now += 150
    targets.register(parse_registration({**GOOD, "target": "h:3"}))
    assert [group["targets"] for group in targets.service_discovery()] == [["h:2"], ["h:3"]]


@pytest.mark.parametrize(
    "target", ["10.0.0.7:8003", "[fe80::1]:1", "[::ffff:10.0.0.1]:65535", "client_7:9", "a.b.example.:80"]
)
def test_addresses_of_all_kinds_are_taken(target: str) -> None:
    """Names, IPv4 and IPv6."""
    assert parse_registration({**GOOD, "target": target}).target == target


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"target": None}, "target must be a string"),
        ({"target": "host"}, "target must be 'host:port'"),
        ({"target": ":8003"}, "target must be 'host:port'"),
        ({"target": "http://host:8003"}, "target must be 'host:port'"),
        ({"target": "host:8003/path"}, "target's port"),
        ({"target": "host/path:8003"}, "target must be 'host:port'"),
        ({"target": "user@host:8003"}, "target must be 'host:port'"),
        ({"target": "host:0"}, "target's port must be from 1 to 65535"),
        ({"target": "host:65536"}, "target's port"),
        ({"target": "host:٣"}, "target's port"),
        ({"target": "host:80\n"}, "target's port"),
        ({"target": "ho st:80"}, "target must be 'host:port'"),
        ({"target": "-h:80"}, "target must be 'host:port'"),
        ({"target": "::1:80"}, "target must be 'host:port'"),
        ({"target": "a" * 64 + ":80"}, "target must be 'host:port'"),
        ({"identifier": ""}, "identifier must be a string of 1 to 256"),
        ({"identifier": "x" * 257}, "identifier must be a string of 1 to 256"),
        ({"identifier": "\ud800"}, "half a surrogate pair"),
        ({"run": "a b"}, "run must match"),
        ({"run": 5}, "run must be a string"),
        ({"lease": -1}, "lease must be from 0 to 3600"),
        ({"lease": True}, "lease must be from 0 to 3600"),
        ({"lease": float("nan")}, "lease must be from 0 to 3600"),
        ({"labels": []}, "labels must be an object"),
        ({"labels": {f"l{n}": "x" for n in range(33)}}, "labels must be an object of at most 32"),
        ({"labels": {"__address__": "evil:1"}}, "a label's name must match"),
        ({"labels": {"__meta_heflwr_identifier": "other"}}, "a label's name must match"),
        ({"labels": {"a-b": "x"}}, "a label's name must match"),
        ({"labels": {"site": 5}}, "label site must be a string"),
        ({"labels": {"__scheme__": "file"}}, "__scheme__ must be one of http, https"),
        ({"labels": {"__scheme__": ["http"]}}, "__scheme__ must be one of http, https"),
        ({"leese": 5}, "there is no key 'leese'"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, Any], text: str) -> None:
    """An address that is more than an address would send Prometheus elsewhere; each refusal says what is allowed."""
    with pytest.raises(Refusal) as raised:
        parse_registration({**GOOD, **change})
    assert raised.value.status == 400
    assert text in raised.value.text
    assert len(raised.value.text) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["identifier", "run", "target", "labels", "lease"], json_values))
)
def test_any_json_is_taken_or_refused(message: dict[str, Any]) -> None:
    """Never another error than a refusal."""
    for body in (message, {**GOOD, **message}, list(message)):
        with contextlib.suppress(Refusal):
            Targets().register(parse_registration(body))
