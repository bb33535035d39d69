"""The benchmark of the monitors runs and its report holds together; what the figures are is its own business."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from servers import FaultyServer, collector, reply
from waiting import wait_for

from benchmarks.monitor.candidates import CANDIDATES
from benchmarks.monitor.peers import Environments
from benchmarks.monitor.watched import CandidateFailed, Watched

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow

OURS = ("heflwr-thread", "heflwr-process")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest run there is: no peers, no network, windows of a fraction of a second."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "benchmarks.monitor", "--smoke", "--no-peers", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "results.md").read_text() in done.stdout
    return folder


@pytest.fixture(scope="module")
def results(output: Path) -> dict[str, Any]:
    """What the run measured."""
    loaded: dict[str, Any] = json.loads((output / "results.json").read_text())
    return loaded


def test_every_goal_has_a_figure(results: dict[str, Any]) -> None:
    """Each goal stands beside what was measured, and says whether it was reached."""
    assert len(results["goals"]) > 20
    for goal in results["goals"]:
        if "long run" in goal["goal"]:
            assert goal["outcome"] == "not measured"  # it takes a million samples
        else:
            assert math.isfinite(goal["figure"]), goal
            assert goal["outcome"] in ("reached", "not reached", "undecided")


def test_a_reading_costs_something(results: dict[str, Any]) -> None:
    """Readings take microseconds, and ten children make them dearer."""
    for kinds in results["readings"].values():
        for times in kinds.values():
            assert all(0 < time < 1e6 for time in times)
    alone, crowded = (results["readings"][f"{count} children"]["psutil"] for count in (0, 10))
    assert min(crowded) > min(alone)


@pytest.mark.parametrize("name", OURS)
def test_whole_monitors_are_measured(results: dict[str, Any], name: str) -> None:
    """heflwr's two runners have CPU, samples, memory and latencies of a credible size."""
    life = results["lives"][name]
    assert results["together"][name]["cpu"]
    assert 0 < life["cpu 0.01"][0] < 1000
    assert 1 < life["samples 0.01"][0] < 120
    assert 0.005 < life["period 0.01"][0] < 1
    assert life["added_children"][0] > 1 << 20 if name == "heflwr-process" else life["added_children"][0] == 0
    assert all(0 < seconds < 30 for seconds in results["latencies"][name]["start"])
    assert all(0 < seconds < 30 for seconds in results["latencies"][name]["first"])
    assert results["slowdown"]["0.1"][name]["ratios"][0] > 0


@pytest.mark.parametrize("name", ["heflwr-thread-remote", "heflwr-process-remote"])
def test_rows_that_are_not_taken_are_no_measurement(name: str, tmp_path: Path) -> None:
    """A sender in back-off is cheap: with a server that gives no receipt the benchmark shows no figure."""

    def live(address: str) -> None:
        with Watched(name, Environments(None, None, {}, []), tmp_path, address) as watched:
            watched.tell("load")
            watched.tell("start", interval=0.05)
            wait_for(lambda: watched.tell("count")["count"])
            watched.tell("stop")

    with collector(tmp_path / "heflwr.db") as collected:
        live(collected.address)
        assert collected.samples()
    with (
        FaultyServer(lambda handler, body: reply(handler, 200, b"{}")) as server,
        pytest.raises(CandidateFailed, match=r"its sink says .*'sent': 0"),
    ):
        live(server.address)
    assert server.requests


def test_the_long_run_adds_up(results: dict[str, Any]) -> None:
    """All made-up samples arrive, and the summary agrees with exact sums."""
    assert results["million"]["samples"] == 2_000
    assert results["million"]["forgotten"] == 0
    assert results["million"]["worst_error"] < 1e-12


def test_the_report_has_tables_and_a_picture(output: Path) -> None:
    """The report is made of Markdown tables whose lines have as many cells as their heads, and a PNG."""
    lines = (output / "results.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) > 40
    width = 0
    for before, line in pairwise(lines):
        if line.startswith("|"):
            width = line.count("|") if not before.startswith("|") else width
            assert line.count("|") == width
    assert (output / "results.png").read_bytes().startswith(b"\x89PNG")


def test_the_short_table_stands_by_itself(output: Path) -> None:
    """A line for each monitor that took part, with a figure in every column, to be shown elsewhere."""
    _, _, after = (output / "results.md").read_text().partition("## Monitors in short\n\n")
    _, _, *lines = after.partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    own = [entry.label for entry in CANDIDATES.values() if entry.home == "own"]
    assert [row[0] for row in cells] == own
    assert all(math.isfinite(float(cell)) for row in cells for cell in row[1:])


def test_what_is_left_out_is_said(results: dict[str, Any], output: Path) -> None:
    """Each peer that did not take part has a line with the reason."""
    report = (output / "results.md").read_text()
    for peer in ("codecarbon", "OpenTelemetry, default", "psrecord", "heflwr 0.1.9, process"):
        assert f"- {peer}: peers were not asked for" in report
