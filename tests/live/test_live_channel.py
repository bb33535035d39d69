"""The live channel within one process: what it knows, who is let in, what is forged, what survives."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_fleet import MEAN_OF_LOAD
from waiting import wait_for

pytest.importorskip("zmq")

from heflwr.automon import codec
from heflwr.automon.messages import Request, Violation, ViolationKind
from heflwr.live import Agent, LiveCoordinator, Standing, Watches, frames, read_watches
from heflwr.live.ends import dialer_to
from heflwr.live.errors import Unavailable
from heflwr.live.frames import Beat, Bye, Carried, Hello, Pulse, Reason, Refusal, Stranger, Welcome
from heflwr.live.keys import TOKEN, add, new

ANY = "127.0.0.1:0"

either_channel = pytest.mark.parametrize("at", [ANY, f"http://{ANY}"], ids=["zeromq", "http"])


def listed(folder: Path, text: str = MEAN_OF_LOAD) -> Watches:
    (folder / "watches.toml").write_text(text)
    return read_watches(folder / "watches.toml")


class Running:
    """Agents in threads of this process, and what they said."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack

    def agent(self, live: LiveCoordinator | str, watches: Watches, name: str, load: float, **options: Any) -> Said:
        """Start an agent, whose metric is in NAME.json."""
        self.load(name, load)
        said = Said()
        address = live if isinstance(live, str) else live.address
        values = self._folder / f"{name}.json"
        options = {"identifier": name, "interval": 0.05, "values": values, "on_event": said.lines.append} | options
        said.agent = Agent(watches, address, **options)
        thread = threading.Thread(target=said.agent.run, args=(said.stop,), name=f"agent-{name}")
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(said.stop.set)
        return said

    def load(self, name: str, value: float) -> None:
        beside = self._folder / f"{name}.new"
        beside.write_text(json.dumps({"load": value}))
        beside.replace(self._folder / f"{name}.json")


class Said:
    agent: Agent

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stop = threading.Event()

    def says(self, text: str) -> None:
        wait_for(lambda: any(text in line for line in self.lines), what=f"{text!r}")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with ExitStack() as stack:
        yield Running(tmp_path, stack)


def only(live: LiveCoordinator) -> Standing:
    (standing,) = live.standings
    return standing


def is_known(live: LiveCoordinator, value: float, count: int) -> bool:
    """Return whether the value is within its bound of what is right, of so many agents."""
    standing = only(live)
    if standing.value is None or standing.bound is None:
        return False
    return abs(standing.value - value) <= standing.bound + 1e-9 and standing.live == count


# A peer that speaks frames itself


class Peer:
    """A bare connection: it sends what it is told to, and keeps what arrives."""

    def __init__(self, address: str) -> None:
        self.dialer = dialer_to(address, None)
        self.dialer.open()

    def send(self, *messages: frames.Frame | bytes) -> None:
        for message in messages:
            data = message if isinstance(message, bytes) else frames.encode(message)
            wait_for(lambda data=data: self.dialer.send(data), what="a connection")  # type: ignore[misc]

    def hears(self, kind: type[Any]) -> Any:
        """Return the next frame of a kind."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for data in self.dialer.receive(0.05):
                assert data is not None
                frame = frames.decode(data)
                if isinstance(frame, kind):
                    return frame
        raise AssertionError(f"no {kind.__name__} came")

    def hello(self, watches: Watches, name: str = "peer") -> Welcome:
        self.send(Hello(name, watches.fingerprint, "0"))
        welcome: Welcome = self.hears(Welcome)
        return welcome


@contextmanager
def peer(live: LiveCoordinator) -> Iterator[Peer]:
    one = Peer(live.address)
    try:
        yield one
    finally:
        one.dialer.close()


def vector(index: int, value: float, function: int = 0) -> Carried:
    violation = Violation(index, 0, ViolationKind.SAFE_ZONE, np.array([value]))
    return Carried(function, codec.encode(violation))


# Following a fleet


@either_channel
def test_values_follow_and_silence_is_kept(at: str, running: Running, tmp_path: Path) -> None:
    """Several functions on one connection; a change that matters is told once, one that does not is not."""
    watches = listed(tmp_path, MEAN_OF_LOAD + '[[watch]]\nkind = "imbalance"\nmetric = "load"\nbound = 20\n')
    with LiveCoordinator(watches, at, agents=2, lease_seconds=1.2) as live:
        running.agent(live, watches, "a", 10)
        running.agent(live, watches, "b", 20)
        wait_for(lambda: all(each.bound is not None and each.updates > 100 for each in live.standings))
        mean, variance = live.standings
        assert (15, 2) == pytest.approx((mean.value, mean.bound))
        assert abs((variance.value or 0) - 25) <= 20
        assert ("exact", "guaranteed") == (mean.guarantee, variance.guarantee)
        sent = mean.messages
        live.reports()
        running.load("a", 10.5)
        wait_for(lambda: live.standings[0].updates > mean.updates + 20)
        assert (sent, {}) == (live.standings[0].messages, dict(live.reports()["mean load"]))
        running.load("a", 50)
        wait_for(lambda: live.standings[0].value == pytest.approx(35, abs=2))
        assert {"a"} == set(live.reports()["mean load"])


def test_the_total_is_of_those_who_are_here(running: Running, tmp_path: Path) -> None:
    """A total without a number of nodes counts the live ones, and so does its bound."""
    watches = listed(tmp_path, '[[watch]]\nkind = "total"\nmetrics = ["load"]\nbound = 4\n')
    with LiveCoordinator(watches, ANY, agents=2) as live:
        running.agent(live, watches, "a", 10)
        other = running.agent(live, watches, "b", 30)
        wait_for(lambda: is_known(live, 40, 2))
        assert 4 == only(live).bound
        other.stop.set()
        wait_for(lambda: is_known(live, 10, 1))
        assert 2 == only(live).bound


def test_a_metric_that_vanishes_is_not_trusted(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent without a vector is no part of the function until it has one; it stays connected."""
    monkeypatch.setattr("heflwr.live.agent.FRESH_SECONDS", 0.5)
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY, agents=2, lease_seconds=2.0) as live:
        running.agent(live, watches, "a", 10)
        gone = running.agent(live, watches, "b", 30)
        wait_for(lambda: is_known(live, 20, 2))
        (tmp_path / "b.json").unlink()
        wait_for(lambda: is_known(live, 10, 1), what="the mean of the one that still knows its load")
        assert gone.agent.is_taking_part
        running.load("b", 50)
        wait_for(lambda: is_known(live, 30, 2))


def test_an_agent_ends_with_the_process_that_it_watches(running: Running, tmp_path: Path) -> None:
    """It says why, and goodbye: no lease has to run out."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY, lease_seconds=600) as live:
        watched = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        said = running.agent(live, watches, "a", 10, pid=watched.pid)
        wait_for(lambda: is_known(live, 10, 1))
        watched.communicate(b"\n")
        said.says(f"nothing is sampled any more: process {watched.pid} has ended")
        wait_for(lambda: (0, 1) == (only(live).live, only(live).lost))


def test_an_alert_comes_once_when_it_is_certain(running: Running, tmp_path: Path) -> None:
    """Above the threshold by more than the bound; and again only after it was over."""
    watches = listed(tmp_path, f"{MEAN_OF_LOAD}above = 50\n")
    alerts: list[str] = []
    with LiveCoordinator(watches, ANY, on_alert=alerts.append) as live:
        running.agent(live, watches, "a", 51)
        wait_for(lambda: is_known(live, 51, 1))
        assert [] == alerts
        for value in (60, 10, 70):
            running.load("a", value)
            wait_for(lambda value=value: is_known(live, value, 1))  # type: ignore[misc]
        wait_for(lambda: len(alerts) == 2)
    assert alerts[0].startswith("mean load is above 50: ")


def test_an_agent_waits_for_a_coordinator_and_outlives_it(running: Running, tmp_path: Path) -> None:
    """It knocks until somebody is there; one that forgot everything learns all again."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY) as live:
        address = live.address
    said = running.agent(address, watches, "a", 10)
    said.says("no coordinator answers yet")
    for _ in range(2):
        with LiveCoordinator(watches, address) as live:
            wait_for(lambda live=live: is_known(live, 10, 1))  # type: ignore[misc]


# Who is let in


def test_an_address_may_be_of_ipv6(running: Running, tmp_path: Path) -> None:
    """In brackets, as in a URL; this machine's own needs no keys there, either."""
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    watches = listed(tmp_path)
    with LiveCoordinator(watches, "[::1]:0") as live:
        assert live.address.startswith("[::1]:")
        running.agent(live, watches, "a", 10)
        wait_for(lambda: is_known(live, 10, 1))


@either_channel
def test_two_with_one_name_are_one_too_many(at: str, tmp_path: Path) -> None:
    """The second is refused while the first is connected, and takes its place at once when the connection is gone."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, at, lease_seconds=600) as live, peer(live) as first, peer(live) as second:
        index = first.hello(watches).index
        second.send(Hello("peer", watches.fingerprint, "0"))
        refusal = second.hears(Refusal)
        assert Reason.TAKEN is refusal.reason
        first.dialer.close()
        wait_for(lambda: _is_welcome(second, watches), what="the seat of one that is gone")
        assert index == second.hello(watches).index
        assert 600_000 / 4 == second.hello(watches).heartbeat_milliseconds


def _is_welcome(peer: Peer, watches: Watches) -> bool:
    peer.send(Hello("peer", watches.fingerprint, "0"))
    return isinstance(peer.hears((Welcome, Refusal)), Welcome)  # type: ignore[arg-type]


@either_channel
def test_other_lists_and_other_versions_are_refused_with_a_word(at: str, tmp_path: Path) -> None:
    """A fingerprint, a protocol and a format that differ; each refusal says what to do."""
    watches = listed(tmp_path)
    events: list[str] = []
    with LiveCoordinator(watches, at, on_event=events.append) as live, peer(live) as one:
        one.send(Hello("peer", "0" * 16, "9.9"))
        refusal = one.hears(Refusal)
        assert Reason.WATCHES is refusal.reason
        assert f"its list is {'0' * 16}, the coordinator's {watches.fingerprint}" in refusal.text
        one.send(Hello("peer", watches.fingerprint, "9.9", protocol=99))
        assert "heflwr 9.9 speaks another protocol" in one.hears(Refusal).text
        hello = frames.encode(Hello("peer", watches.fingerprint, "9.9"))
        one.send(hello[:2] + bytes([(frames.FORMAT + 1) << 4 | hello[2] & 0xF]) + b"whatever it means there")
        assert Reason.VERSION is one.hears(Refusal).reason
        one.send(Hello("", watches.fingerprint, "0"))
        assert Reason.NAME is one.hears(Refusal).reason
        assert 0 == only(live).live - 1, "the one that is waited for at the start"
        assert 4 == len(events)


def test_a_refusal_of_another_format_can_be_read() -> None:
    """So that an old agent says why a new coordinator does not take it."""
    data = frames.encode(Refusal(Reason.FULL, "no room"))
    other = data[:2] + bytes([(frames.FORMAT + 1) << 4 | data[2] & 0xF]) + data[3:]
    assert Refusal(Reason.FULL, "no room") == frames.decode(other)
    assert Refusal(Reason.VERSION, "of later") == frames.decode(data[:3] + b"\x63" + b"\x08of later")


def test_a_full_coordinator_refuses_until_somebody_goes(tmp_path: Path) -> None:
    """The seat of one that said goodbye is given to another."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY, most_agents=1) as live, peer(live) as one, peer(live) as other:
        one.hello(watches, "one")
        other.send(Hello("other", watches.fingerprint, "0"))
        assert Reason.FULL is other.hears(Refusal).reason
        one.send(Bye())
        wait_for(lambda: "goodbye" and only(live).lost == 1)
        assert 0 == other.hello(watches, "other").index


@either_channel
def test_names_and_keys_go_together(at: str, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys an agent is who its key says; a key that is taken away ends that, until it is put back."""
    monkeypatch.setattr("heflwr.live.agent.REFUSED_SECONDS", 0.3)
    watches = listed(tmp_path)
    server = new(tmp_path / "server")
    key = new(tmp_path / "ann", server)
    add(tmp_path / "server", "ann", key if at == ANY else (tmp_path / "ann" / TOKEN).read_text().strip())
    with LiveCoordinator(watches, at, tmp_path / "server", lease_seconds=1.0) as live:
        ann = running.agent(live, watches, "ann", 10, keys=tmp_path / "ann", identifier=None)
        wait_for(lambda: is_known(live, 10, 1))
        liar = running.agent(live, watches, "bob", 90, keys=tmp_path / "ann")
        liar.says("refused: the key is 'ann''s, the agent calls itself 'bob'")
        liar.stop.set()
        accepted = tmp_path / "server" / "agents" / "ann.pub"
        accepted.rename(tmp_path / "aside")
        ann.says("refused: the key of 'ann' has been taken away" if at == ANY else "does not know this key")
        wait_for(lambda: only(live).live == 0)
        (tmp_path / "aside").rename(accepted)
        wait_for(lambda: is_known(live, 10, 1))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "10.1.2.3:7100", "example.org:7100", "[::]:0"])
def test_without_keys_nothing_leaves_the_machine(address: str, tmp_path: Path) -> None:
    """Either side refuses an address that others reach."""
    watches = listed(tmp_path)
    for make in (LiveCoordinator, lambda *arguments: Agent(*arguments, values=tmp_path / "x")):
        with pytest.raises(ValueError, match="make keys with `heflwr keys new"):
            make(watches, address)  # type: ignore[operator]


# Forgery and noise


def test_forged_and_broken_frames_change_nothing(running: Running, tmp_path: Path) -> None:
    """Another's index, a function that is none, a coordinator's own messages, noise: counted, and the fleet goes on."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY) as live, peer(live) as liar:
        running.agent(live, watches, "a", 10)
        wait_for(lambda: is_known(live, 10, 1))
        liar.send(vector(0, 99.0), Beat((Pulse(True, 7, 7, 7),)))
        liar.hears(Stranger)
        index = liar.hello(watches).index
        assert 1 == index
        noise = [
            b"",
            b"x",
            b"\xa7L",
            b"\xa7L\x11",
            b"\xa7L\x1f",
            b"\xa7L\x14\xff\xff\xff\xff\x0f",
            b"\xa7L\x14\x01\x02",
        ]
        wrong = [
            Beat((Pulse(True), Pulse(True))),
            Carried(5, codec.encode(Violation(index, 0, ViolationKind.SAFE_ZONE, np.array([1.0])))),
            Carried(0, b"noise"),
            Carried(0, codec.encode(Request(1))),
            Welcome(1, 2, 3),
        ]
        liar.send(*noise, *wrong, vector(0, 99.0))
        wait_for(
            lambda: live.counts == {"malformed": len(noise) + len(wrong), "refused": 3, "handshakes": 0, "failures": 0}
        )
        assert is_known(live, 10, 1)
        liar.send(vector(index, 30.0))
        wait_for(lambda: is_known(live, 20, 2))


def test_an_agent_drops_what_no_coordinator_says(running: Running, tmp_path: Path) -> None:
    """A coordinator that sends noise does not end it."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY) as live:
        said = running.agent(live, watches, "a", 10)
        wait_for(lambda: is_known(live, 10, 1))
        address = live._reception._registry.holder("a")
        assert address is not None
        for data in (
            b"noise",
            frames.encode(Carried(0, b"noise")),
            frames.encode(Carried(9, b"")),
            frames.encode(Bye()),
        ):
            live._listener.send(address, data)
        wait_for(lambda: said.agent.malformed == 4)
        running.load("a", 40)
        wait_for(lambda: is_known(live, 40, 1))


# What survives


def test_a_state_of_other_functions_is_refused(tmp_path: Path) -> None:
    """So is a file that holds something else; the text says the way out, and the file stays."""
    state = tmp_path / "state"
    with LiveCoordinator(listed(tmp_path), ANY, state=state):
        pass
    kept = state.read_bytes()
    with pytest.raises(Unavailable, match=r"state of other functions .*; remove it to begin anew"):
        LiveCoordinator(listed(tmp_path, MEAN_OF_LOAD.replace("2.0", "3.0")), ANY, state=state).open()
    assert kept == state.read_bytes()
    state.write_bytes(b"something else")
    with pytest.raises(Unavailable, match="cannot go on from"):
        LiveCoordinator(listed(tmp_path), ANY, state=state).open()


def test_a_restart_keeps_seats_and_counts(running: Running, tmp_path: Path) -> None:
    """The same agents have the same indices, messages are counted on, and no answer comes before all are heard."""
    watches = listed(tmp_path)
    options: dict[str, Any] = {"state": tmp_path / "state", "lease_seconds": 600.0}  # no heartbeat comes in between
    with LiveCoordinator(watches, ANY, **options) as live, peer(live) as one:
        address = live.address
        one.send(vector(one.hello(watches, "one").index, 10.0))
        running.agent(live, watches, "a", 30)
        wait_for(lambda: is_known(live, 20, 2))
        before = only(live).messages
    with LiveCoordinator(watches, address, **options) as live:
        wait_for(lambda: only(live).messages > before, what="the agent that is still there")
        assert (None, 2) == (only(live).bound, only(live).live)
        with peer(live) as one:
            assert 0 == one.hello(watches, "one").index
            one.send(vector(0, 50.0))
            wait_for(lambda: is_known(live, 40, 2))


def test_an_address_in_use_is_an_error(tmp_path: Path) -> None:
    """It names the address; nothing is held."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY) as live, pytest.raises(Unavailable, match=f"cannot listen on {live.address}"):
        LiveCoordinator(watches, live.address).start()


def test_a_state_that_cannot_be_kept_is_said_at_once(tmp_path: Path) -> None:
    state = tmp_path / "no" / "folder"
    with pytest.raises(Unavailable, match=r"cannot keep the state in .*folder: No such file"):
        LiveCoordinator(listed(tmp_path), ANY, state=state).open()


def test_an_agent_says_why_it_has_no_numbers(running: Running, tmp_path: Path) -> None:
    """Each time for a new reason, and when there are some again."""
    watches = listed(tmp_path)
    with LiveCoordinator(watches, ANY, agents=1) as live:
        said = running.agent(live, watches, "a", 10)
        (tmp_path / "a.json").write_text('{"load": "x"}')
        said.says("a.json: 'load' must be a finite number, got 'x'")
        (tmp_path / "a.json").unlink()
        said.says("No such file")
        running.load("a", 10)
        said.says("can be read")


def test_wrong_arguments_are_refused_at_the_door(tmp_path: Path) -> None:
    """Each with the value and what is allowed."""
    watches = listed(tmp_path)
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: LiveCoordinator(watches, "7100"), "HOST:PORT"),
        (lambda: LiveCoordinator(watches, ANY, agents=0), "agents must be from 1"),
        (lambda: LiveCoordinator(watches, ANY, lease_seconds=0), "lease_seconds must be > 0"),
        (lambda: Agent(watches, ANY), "no probe reads 'load'"),
        (lambda: Agent(watches, "127.0.0.1:99999", values=tmp_path / "x"), "HOST:PORT"),
        (lambda: Agent(watches, ANY, interval=0, values=tmp_path / "x"), "interval must be from"),
        (lambda: Agent(watches, ANY, identifier="", values=tmp_path / "x"), "identifier must have"),
    ]
    for make, match in wrong:
        with pytest.raises(ValueError, match=match):
            make()
