"""A live fleet of real processes with keys: one goes wild, is killed, comes back; strangers are refused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_fleet import LiveFleet
from waiting import wait_for

from heflwr.live.keys import new

pytest.importorskip("zmq")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[LiveFleet]:
    fleet = LiveFleet(tmp_path)
    yield fleet
    fleet.end()


def known(value: float, live: int, lost: int = 0, stale: int = 0) -> str:
    """Return how the coordinator prints what it knows."""
    bound = r"\?" if stale else "2"
    counts = f"{live} live" + (f", {stale} stale" if stale else "") + (f", {lost} lost" if lost else "")
    return rf"mean load {value:g} \+- {bound} \(exact\), {counts};"


def messages(line: str) -> tuple[int, int]:
    found = re.search(r"(\d+) messages for (\d+) updates", line)
    assert found is not None, line
    return int(found[1]), int(found[2])


def test_a_fleet_tells_what_goes_wrong_and_survives_the_loss_of_any(fleet: LiveFleet) -> None:
    """One machine goes wild and speaks, the others stay silent; strangers are refused; who is killed comes back.

    Importing JAX would end any of the agents.
    """
    (fleet.folder / "without").mkdir()
    (fleet.folder / "without" / "jax.py").write_text("raise SystemExit('an agent needs no jax')\n")
    paths = [str(fleet.folder / "without"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(paths)}
    coordinator = fleet.coordinator("--agents", "3", "--state", str(fleet.folder / "state"))
    agents = {name: fleet.agent(name, **environment) for name in ("ann", "ben", "cal")}
    before = messages(coordinator.says(known(10, 3)))[0]

    fleet.load("ben", 70)
    line = coordinator.says(known(30, 3))
    assert "from ben (1)" in line
    assert not any(name in line for name in ("ann", "cal"))
    after, updates = messages(coordinator.says(known(30, 3) + r".* updates$", coordinator.lines.index(line) + 5))
    assert before < after <= before + 4 < updates, "one report, and at most a new zone for all three"

    stranger = new(fleet.folder / "stranger", fleet.coordinator_key)
    values = ["--watch", fleet.watches, "--connect", fleet.address, "--values", str(fleet.folder / "ann.json")]
    fleet.started("agent", *values, "--keys", str(fleet.folder / "stranger")).says("does not know this key")
    fleet.started("agent", *values).says("cannot connect: the other side ended the handshake")
    coordinator.says(f"refused an unknown key: {stranger}")

    agents["ben"].end(signal.SIGKILL)
    coordinator.says(known(30, 3, stale=1))
    coordinator.says("ben is lost")
    coordinator.says(known(10, 2, lost=1))

    coordinator.end(signal.SIGKILL)
    coordinator = fleet.coordinator("--agents", "3", "--state", str(fleet.folder / "state"))
    coordinator.says("mean load .* \\+- \\? .* stale")
    coordinator.says(known(10, 2, lost=1))
    agents["ben"] = fleet.agent("ben")
    coordinator.says(known(30, 3))

    assert [0, 0, 0] == [agent.end() for agent in agents.values()]
    assert re.search(r"ended: \d+ vectors, \d+ messages$", agents["ann"].lines[-1])
    coordinator.says("mean load unknown .* 0 live, 3 lost")
    assert 0 == coordinator.end(signal.SIGINT)
    assert coordinator.lines[-1].endswith("ended")


@pytest.mark.skipif(sys.platform != "linux", reason="burns a process's CPU, watched through /proc")
def test_a_burning_process_is_seen_and_the_others_stay_silent(tmp_path: Path) -> None:
    """The CPU of three real processes: when one begins to burn, the fleet's mean rises, and only its agent speaks."""
    fleet = LiveFleet(tmp_path, '[[watch]]\nkind = "mean"\nmetric = "cpu_usage"\nbound = 2.0\nwindow = 3\n')
    burner = "import sys\nsys.stdin.readline()\nwhile True: pass"
    watched = [subprocess.Popen([sys.executable, "-c", burner], stdin=subprocess.PIPE) for _ in range(3)]
    try:
        coordinator = fleet.coordinator("--agents", "3")
        for name, process in zip(("ann", "ben", "cal"), watched, strict=True):
            fleet.agent(name, "--pid", str(process.pid), "--interval", "0.2")
        line = coordinator.says(r"mean cpu_usage \S+ \+- 2 percent \(exact\), 3 live")
        assert value_of(line) < 4
        since = len(coordinator.lines)
        assert watched[1].stdin is not None
        watched[1].stdin.write(b"burn\n")
        watched[1].stdin.flush()
        wait_for(lambda: value_of(coordinator.lines[-1]) > 4, what="a mean above 4 percent")
        spoke = {name for line in coordinator.lines[since:] for name in re.findall(r"(\w+) \(\d+\)", line)}
        assert {"ben"} == spoke
    finally:
        fleet.end()
        for process in watched:
            process.kill()
            process.communicate()


def value_of(line: str) -> float:
    found = re.search(r"mean cpu_usage (\S+) \+-", line)
    return 0.0 if found is None or found[1] == "unknown" else float(found[1])
