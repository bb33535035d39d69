"""The example of a Flower deployment, run as its README says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

EXAMPLE = Path(__file__).parents[1] / "examples" / "flower_deployment"

CLIENTS = 3
ROUNDS = 2

RUN_SECONDS = 200.0
"""Far more than it takes, even where other things run at the same time."""

for package in ("flwr", "sklearn", "matplotlib", "flask", "waitress"):
    pytest.importorskip(package)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def left_in(out: Path) -> list[str]:
    """Return the command lines of living processes that know the example's output folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and str(out) in process.environ().values():
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the example once; return its folder and what it printed."""
    out = tmp_path_factory.mktemp("example") / "out"
    result = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py"), "--out", str(out), "--rounds", str(ROUNDS)],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    logs = "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in out.glob("logs/*.log"))
    assert (0, "") == (result.returncode, result.stderr), logs
    assert [] == left_in(out)
    return out, result.stdout


def table(printed: str, head: str) -> list[dict[str, str]]:
    """Return the table whose first line has `head` in it, a mapping a line."""
    lines = printed.splitlines()
    start = next(at for at, line in enumerate(lines) if head in line and line.split()[0] == "client")
    heads, rows = re.split(r"\s{2,}", lines[start].strip()), []
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        rows.append(dict(zip(heads, line.split(), strict=True)))
    return rows


def test_every_round_tells_its_accuracy_and_it_grows(shown: tuple[Path, str]) -> None:
    """The common model is judged before the first round and after each; it learns."""
    accuracies = [float(text) for text in re.findall(r"^round \d+  accuracy ([\d.]+)", shown[1], re.MULTILINE)]
    assert ROUNDS + 1 == len(accuracies)
    assert accuracies[0] < 0.4
    assert accuracies[-1] > 0.85


def test_the_table_has_every_client_in_every_round(shown: tuple[Path, str]) -> None:
    """Who has more to do is billed more; nobody used more CPU than there was time for one thread."""
    rows = table(shown[1], "start-up")
    assert [str(client) for client in range(CLIENTS)] == [row["client"] for row in rows]
    for row in rows:
        costs = [float(row[f"round {number}"]) for number in range(1, ROUNDS + 1)]
        assert min(costs) > 0
        assert float(row["all"]) == pytest.approx(sum(costs), abs=0.02)
        assert float(row["all"]) < float(row["wall s"]) + 0.2
        assert float(row["start-up"]) > 0.1 * ROUNDS
        assert float(row["peak MB"]) > 20
    assert float(rows[0]["all"]) < float(rows[1]["all"]) < float(rows[2]["all"])


def test_the_collector_heard_of_every_client(shown: tuple[Path, str]) -> None:
    """Each agent sent samples over some seconds, and said of which SuperNode; no two watch the same."""
    rows = table(shown[1], "samples")
    assert [str(client) for client in range(CLIENTS)] == [row["client"] for row in rows]
    for row in rows:
        assert int(row["samples"]) > 2
        assert float(row["seconds"]) > 2
    assert CLIENTS == len({row["SuperNode"] for row in rows})


def test_the_history_is_saved_with_the_servers_scores(shown: tuple[Path, str]) -> None:
    """A message a client and round, each with its cost; the accuracy that was printed."""
    from heflwr.flower import History

    history = History.load(shown[0] / "history.jsonl")
    assert CLIENTS * ROUNDS == len(history.entries)
    assert all(entry.cost["cpu_seconds"] > 0 for entry in history.entries)
    printed = re.findall(r"^round \d+  accuracy ([\d.]+)", shown[1], re.MULTILINE)
    assert printed == [f"{history.scores[number]['accuracy']:.3f}" for number in range(ROUNDS + 1)]
    assert {} == history.faults


def test_every_agent_left_a_file_of_samples(shown: tuple[Path, str]) -> None:
    """One run each, that goes on over all rounds."""
    for client in range(CLIENTS):
        lines = [
            json.loads(line) for line in (shown[0] / "samples" / f"client-{client}.jsonl").read_text().splitlines()
        ]
        samples = [line for line in lines if "sequence" in line]
        assert 1 == len({sample["run"] for sample in samples})
        assert samples[-1]["elapsed"] > 2


def test_the_picture_shows_something(shown: tuple[Path, str]) -> None:
    """A PNG of a sensible size, mostly but not wholly white."""
    from matplotlib import image

    data = image.imread(shown[0] / "federation.png")
    height, width = data.shape[:2]
    assert width > 800
    assert height > 500
    assert 0.02 < float((data[..., :3].min(axis=2) < 0.9).mean()) < 0.6


def test_output_is_for_people(shown: tuple[Path, str]) -> None:
    """Nothing of Flower's own logging comes between."""
    assert not re.search(r"WARNING|INFO|ERROR|DEPRECATED|Traceback", shown[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ctrl_c_takes_everything_down(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of the run, or as soon as the first processes are there; at a terminal or by a service manager."""
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE / "run.py"), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as example:
        assert example.stdout is not None
        wanted = "round 0" if number == signal.SIGINT else "collector on"
        wait_for(lambda: (example.stdout.readline() or wanted).startswith(wanted), RUN_SECONDS)
        was_running = len(left_in(out))
        example.send_signal(number)
        _, error = example.communicate(timeout=60)
    assert was_running > CLIENTS
    assert [] == left_in(out)
    assert (128 + number, "") == (example.returncode, error)
