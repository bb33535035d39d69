"""The examples around heflwr.flower that run in a simulation, run as their READMEs say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

for package in ("flwr", "ray", "sklearn", "matplotlib"):
    pytest.importorskip(package)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def run(example: str, out: Path, rounds: int) -> str:
    """Run an example and return what it printed."""
    command = [sys.executable, "run.py", "--out", str(out), "--rounds", str(rounds)]
    done = subprocess.run(command, cwd=EXAMPLES / example, capture_output=True, text=True, timeout=180, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_a_legacy_app_prints_a_line_a_call(tmp_path: Path) -> None:
    """Five clinics, train and evaluate in each round, each with its cost; what is judged has an accuracy."""
    printed = run("flower_legacy", tmp_path, 2)
    lines = re.findall(r"^ +(\d) +(\d) (train|evaluate) +([\d.]+) +([\d.]+) +(\d+) *([\d.]*) *$", printed, re.MULTILINE)
    assert 2 * 5 * 2 == len(lines)
    assert all(float(cpu) > 0 for _, _, kind, _, cpu, _, _ in lines if kind == "train")
    assert all(bool(accuracy) == (kind == "evaluate") for _, _, kind, _, _, _, accuracy in lines)
    assert (tmp_path / "rounds.png").stat().st_size > 10_000
    assert 20 == sum('"node"' in line for line in (tmp_path / "history.jsonl").read_text().splitlines())


def test_cheapest_first_costs_less_than_random(tmp_path: Path) -> None:
    """The strategy that asks the history knows every node after three rounds, and leaves the dear ones alone."""
    printed = run("custom_strategy", tmp_path, 5)
    found = dict(re.findall(r"^(random|cheapest first) +[\d.]+ +[\d.]+ +\S+ +\[(.*)\]$", printed, re.MULTILINE))
    calls = {name: [int(count) for count in counts.split(",")] for name, counts in found.items()}
    assert {"random", "cheapest first"} == set(calls)
    assert all(20 == sum(counts) for counts in calls.values())
    cheap, dear = calls["cheapest first"][:3], calls["cheapest first"][7:]
    assert min(calls["cheapest first"]) >= 1
    assert sum(cheap) > sum(dear)
    assert (tmp_path / "strategies.png").stat().st_size > 10_000


def test_a_watched_fleet_is_known_within_its_bounds(tmp_path: Path) -> None:
    """Ten clients, four functions: the truth that was logged aside is never outside; what was sent is less than all."""
    printed = run("fleet_watch", tmp_path, 7)
    worst = re.findall(r"^\S.*  (?:exact|guaranteed) +(\d+\.\d\d)$", printed, re.MULTILINE)
    assert 4 == len(worst)
    assert all(float(ratio) <= 1.0 for ratio in worst)
    reports, everyone = map(int, re.findall(r"^reports +(\d+) of (\d+) ", printed, re.MULTILINE)[0])
    assert 40 <= reports < everyone == 4 * 10 * 6  # the first call of each client is left out
    assert "fault" not in printed
    assert (tmp_path / "watch.png").stat().st_size > 10_000
