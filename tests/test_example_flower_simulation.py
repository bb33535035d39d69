"""The example of a Flower federation, run as its README says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from heflwr.flower.history.ledger import History

EXAMPLE = Path(__file__).parents[1] / "examples" / "flower_simulation" / "run.py"

CLIENTS = 10
ROUNDS = 5

for package in ("flwr", "ray", "sklearn", "matplotlib"):
    pytest.importorskip(package)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the example once; return its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo")
    result = subprocess.run(
        [sys.executable, str(EXAMPLE), "--out", str(out)], capture_output=True, text=True, timeout=280, check=False
    )
    assert 0 == result.returncode, result.stderr
    return out, result.stdout


def rows(printed: str) -> list[dict[str, float]]:
    """Return the table as numbers, a mapping a client."""
    lines = printed.splitlines()
    start = next(at for at, line in enumerate(lines) if line.split()[:2] == ["client", "examples"])
    heads = re.split(r"\s{2,}", lines[start].strip())
    table = []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        table.append(dict(zip(heads, map(float, line.split()), strict=True)))
    return table


def test_every_round_tells_its_accuracy_and_it_grows(demo: tuple[Path, str]) -> None:
    """The common model is judged before the first round and after each; it learns."""
    accuracies = [float(text) for text in re.findall(r"^round \d+  accuracy ([\d.]+)", demo[1], re.MULTILINE)]
    assert ROUNDS + 1 == len(accuracies)
    assert accuracies[0] < 0.4
    assert accuracies[-1] > 0.85


def test_the_table_has_every_client_with_a_plausible_cost(demo: tuple[Path, str]) -> None:
    """Each client used CPU, for no longer than it took times the cores there are, memory, and the same messages."""
    table = rows(demo[1])
    assert list(range(CLIENTS)) == [row["client"] for row in table]
    for row in table:
        assert row["CPU s"] > 0
        assert row["wall s"] > 0
        assert 0 < row["avg CPU %"] <= 100
        assert 50 < row["peak MiB"] < 10_000
        assert 753 == row["KiB sent"] == row["KiB received"], "a model, in each of the rounds"
        assert row["CPU s"] <= 2 * row["wall s"] + 0.1  # one thread, and rounding


def test_a_client_with_more_work_is_billed_more(demo: tuple[Path, str]) -> None:
    """CPU seconds follow examples times epochs: the client with the most has the most."""
    table = rows(demo[1])
    work = {row["client"]: row["examples"] * row["epochs"] for row in table}
    cost = {row["client"]: row["CPU s"] for row in table}
    assert max(work, key=work.__getitem__) == max(cost, key=cost.__getitem__)
    assert min(work, key=work.__getitem__) == min(cost, key=cost.__getitem__)


def test_the_stats_of_one_client_are_shown_with_the_documented_keys(demo: tuple[Path, str]) -> None:
    """All seven keys, power empty where it is off."""
    keys = re.findall(r"^  (\w+): \[", demo[1], re.MULTILINE)
    assert [
        "cpu_usage",
        "memory_usage",
        "network_bytes_sent",
        "network_bytes_recv",
        "power_vdd_in",
        "power_vdd_cpu_gpu_cv",
        "power_vdd_soc",
    ] == keys
    assert "power_vdd_in: []" in demo[1]


def test_summary_and_rounds_follow(demo: tuple[Path, str]) -> None:
    """The documented keys of summary(), and a line a round with who was slowest."""
    keys = re.findall(r"^  ((?:avg|total)_\w+): [\d.e+]+$", demo[1], re.MULTILINE)
    assert ["avg_cpu_usage", "avg_memory_usage", "total_network_bytes_sent", "total_network_bytes_recv"] == keys[:4]
    lines = demo[1].splitlines()
    start = next(at for at, line in enumerate(lines) if line.split()[:2] == ["round", "wall"])
    table = [line.split() for line in lines[start + 1 : start + 1 + ROUNDS]]
    assert [str(number) for number in range(1, ROUNDS + 1)] == [cells[0] for cells in table]
    for cells in table:
        assert 0 <= int(cells[4]) < CLIENTS
        assert float(cells[5]) >= 1
    assert re.search(r"all processes of the run used [\d.]+ CPU seconds", demo[1])


def test_the_history_has_every_call(demo: tuple[Path, str]) -> None:
    """What the tables say can be read again from the file; the strategy saw nothing of heflwr."""
    history = History.load(demo[0] / "history.jsonl")
    calls = {(entry.name, entry.round) for entry in history.entries}
    assert {(str(client), number) for client in range(CLIENTS) for number in range(1, ROUNDS + 1)} == calls
    assert len(calls) == len(history.entries)
    assert {} == history.faults
    for entry in history.entries:
        assert {"num-examples"} == set(entry.metrics)
    spent = {row["client"]: row["CPU s"] for row in rows(demo[1])}
    for node in history.summary()["per_node"].values():
        assert pytest.approx(spent[float(node["name"])], abs=0.01) == node["cpu_seconds"]


def test_the_explicit_monitor_saw_the_training_and_not_more_than_the_call(demo: tuple[Path, str]) -> None:
    """Both ways measure the same process: the part costs no more than the whole, and nearly all of it."""
    whole = {row["client"]: row["wall s"] for row in rows(demo[1])}
    for client, file in enumerate(sorted((demo[0] / "clients").glob("*.jsonl"))):
        samples = [line for line in map(json.loads, file.read_text().splitlines()) if "sequence" in line]
        longest = {}
        for sample in samples:
            longest[sample["run"]] = max(longest.get(sample["run"], 0.0), sample["elapsed"])
        assert 0 < sum(longest.values()) <= whole[client] + 0.01


def test_every_client_has_a_file_with_a_run_a_round(demo: tuple[Path, str]) -> None:
    """The samples of each round follow a header that names client and round."""
    files = sorted((demo[0] / "clients").glob("*.jsonl"))
    assert [f"client-{client:02}.jsonl" for client in range(CLIENTS)] == [file.name for file in files]
    for client, file in enumerate(files):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        headers = [line for line in lines if line.get("type") == "heflwr run"]
        expected = [f"client {client} round {number}" for number in range(1, ROUNDS + 1)]
        assert expected == [header["identifier"] for header in headers]
        samples = [line for line in lines if "sequence" in line]
        assert {header["run"] for header in headers} == {sample["run"] for sample in samples}


@pytest.mark.parametrize("name", ["federation.png", "rounds.png"])
def test_the_picture_shows_something(name: str, demo: tuple[Path, str]) -> None:
    """A PNG of a sensible size, mostly but not wholly white."""
    from matplotlib import image

    data = image.imread(demo[0] / name)
    height, width = data.shape[:2]
    assert width > 800
    assert height > 500
    inked = float((data[..., :3].min(axis=2) < 0.9).mean())
    assert 0.03 < inked < 0.6


def test_output_is_for_people(demo: tuple[Path, str]) -> None:
    """Nothing of Flower's and Ray's own logging comes between."""
    assert not re.search(r"WARNING|INFO|ERROR|DEPRECATED|ray::|Traceback", demo[1])
