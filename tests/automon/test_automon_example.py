"""The example of a fleet of real processes: they find each other, are killed, come back, and end when they are told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import free_port
from waiting import wait_for

pytest.importorskip("zmq")

EXAMPLE = Path(__file__).parents[2] / "examples" / "automon"
PATIENCE_SECONDS = 60.0


class Program:
    """One of the example's programs as a process, and what it printed."""

    def __init__(self, script: str, *arguments: str, **environment: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLE / script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self._thread = threading.Thread(target=self._read, name=f"reads-{script}")
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def says(self, pattern: str, since: int = 0) -> None:
        """Wait for a line."""
        wait_for(
            lambda: any(re.search(pattern, line) for line in self.lines[since:]) or self.process.poll() is not None,
            PATIENCE_SECONDS,
            f"{pattern!r} in {self.lines}",
        )
        assert any(re.search(pattern, line) for line in self.lines[since:]), self.lines

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self._thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Fleet:
    """The example's processes on one free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.programs: list[Program] = []
        (folder / "without-jax").mkdir()
        (folder / "without-jax" / "jax.py").write_text("raise ImportError('a node needs no jax')\n")

    def coordinator(self, nodes: int = 3, lease: float = 4.0) -> Program:
        """Start a coordinator, by its arguments."""
        state = str(self.folder / "state")
        arguments = ["--nodes", str(nodes), "--address", self.address, "--lease", str(lease), "--state", state]
        return self.started(Program("coordinator.py", *arguments))

    def node(self, index: int, load: float, state: str = "state") -> Program:
        """Start a node, by environment variables, as in a container; jax cannot be imported there."""
        environment = {
            "HEFLWR_NODE": str(index),
            "HEFLWR_ADDRESS": self.address,
            "HEFLWR_STATE": str(self.folder / state),
            "HEFLWR_INTERVAL": "0.1",
            "PYTHONPATH": str(self.folder / "without-jax"),
        }
        return self.started(Program("node.py", "--load", str(load), **environment))

    def started(self, program: Program) -> Program:
        self.programs.append(program)
        return program


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    for program in fleet.programs:
        program.end(signal.SIGKILL)


def line(value: float, nodes: int) -> str:
    return rf"imbalance {value:.4f} within 0.01 \(guaranteed\), {nodes} nodes"


def test_a_fleet_of_processes_survives_the_loss_of_any(fleet: Fleet) -> None:
    """Nodes and coordinator are killed and started again: the answer is right each time, and all end when told."""
    coordinator = fleet.coordinator()
    nodes = [fleet.node(index, load) for index, load in enumerate((0.1, 0.1, 0.7))]
    coordinator.says(line(0.08, 3))

    nodes[2].end(signal.SIGKILL)
    nodes[2] = fleet.node(2, 0.4)
    coordinator.says(line(0.02, 3))

    coordinator.end(signal.SIGKILL)
    coordinator = fleet.coordinator()
    coordinator.says(line(0.02, 3))
    nodes[2].end(signal.SIGKILL)
    coordinator.says(line(0.0, 2) + ", 1 lost")
    nodes[2] = fleet.node(2, 1.0)
    coordinator.says(line(0.18, 3) + "$")

    assert 0 == nodes[1].end()
    assert "ended; said goodbye\n" == nodes[1].lines[-1]
    coordinator.says(line(0.2025, 2))
    assert 0 == coordinator.end(signal.SIGINT)
    assert "ended; the state is kept\n" == coordinator.lines[-1]
    assert [0, 0] == [nodes[0].end(), nodes[2].end(signal.SIGINT)]


def test_a_second_node_with_the_same_index_says_that_it_is_refused(fleet: Fleet) -> None:
    """It runs on, and takes part when the first is gone."""
    coordinator = fleet.coordinator(nodes=1, lease=30.0)
    first = fleet.node(0, 0.5)
    coordinator.says(line(0.0, 1))
    second = fleet.node(0, 0.9, state="elsewhere")
    second.says("refused: taken")
    first.end()
    second.says("taking part")


def test_a_state_that_is_none_ends_the_program_with_a_word(fleet: Fleet) -> None:
    """A damaged state is not guessed at: the program names the file and ends with code 1."""
    (fleet.folder / "state").mkdir()
    (fleet.folder / "state" / "coordinator.state").write_bytes(b"damaged")
    coordinator = fleet.coordinator()
    assert 1 == coordinator.process.wait(PATIENCE_SECONDS)
    coordinator.says("error: .*coordinator.state")
