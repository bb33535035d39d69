"""The example of an ML service: run as its README says, and its parts asked one by one."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest
from programs import need

EXAMPLE = Path(__file__).parents[1] / "examples" / "ml_service"

SERVICES = ("threads", "workers")
RATE = 120

RUN_SECONDS = 100.0
"""Far more than it takes, even where other things run at the same time."""

for package in ("flask", "waitress", "gunicorn", "prometheus_client", "sklearn"):
    pytest.importorskip(package)


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """Let the example's files import each other by name, and forget them afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        yield
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(EXAMPLE)):
            del sys.modules[name]


def load(name: str) -> ModuleType:
    """Return a module of the example."""
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run the example once; return what it printed."""
    need("prometheus")
    out = tmp_path_factory.mktemp("example") / "out"
    command = [sys.executable, str(EXAMPLE / "run.py"), "--out", str(out), "--seconds", "8", "--rate", str(RATE)]
    mark = {"HEFLWR_TEST_RUN": str(out)}
    result = subprocess.run(
        command, env=os.environ | mark, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    logs = "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in out.glob("logs/*.log"))
    assert (0, "") == (result.returncode, result.stderr), logs + result.stdout
    assert [] == left_with(mark)
    return result.stdout


def left_with(mark: dict[str, str]) -> list[str]:
    """Return the command lines of living processes that have this in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and mark.items() <= process.environ().items():
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def answers(printed: str, what: str) -> dict[str, tuple[float, float]]:
    """Return what each service answered before the drift and after."""
    block = next(block for block in printed.split("\n\n") if block.startswith(what))
    found = re.findall(r"^ +(\w+) +(\S+) -> +(\S+)$", block, re.MULTILINE)
    return {service: (float(before), float(after)) for service, before, after in found}


def test_every_question_has_an_answer_for_each_service_before_and_after(shown: str) -> None:
    """One process of waitress, two of gunicorn, one Prometheus; no answer is missing or not a number."""
    for question in load("questions").QUESTIONS:
        found = answers(shown, question.what)
        assert set(found) == ({"all"} if "both" in question.what else set(SERVICES))
        assert all(value > 0 for values in found.values() for value in values), (question, found)
        assert question.query in shown


def test_the_drift_is_seen_without_knowing_any_answer(shown: str) -> None:
    """Variance and divergence tell, while the service cannot know how often it is wrong."""
    variance, divergence = answers(shown, "inputs' variance"), answers(shown, "inputs' KL drift")
    for service in SERVICES:
        assert 0.6 < variance[service][0] < 1.4
        assert variance[service][1] < 0.4
        assert divergence[service][1] > 3 * divergence[service][0]
    accuracies = [float(text) for text in re.findall(r"accuracy ([\d.]+)", shown)]
    assert accuracies[0] > 0.9 > 0.7 > accuracies[1]


def test_what_the_client_sent_is_what_prometheus_counted(shown: str) -> None:
    """One request in twenty is refused, none failed; both services got theirs."""
    assert ["0", "0"] == re.findall(r"(\d+) failed", shown)
    for values in answers(shown, "refused or failed").values():
        assert all(0.02 < value < 0.12 for value in values)
    before, after = answers(shown, "both services")["all"]
    assert max(before, after) < 1.3 * RATE


def test_without_prometheus_it_says_what_to_install(tmp_path: Path) -> None:
    """In one line, before anything is started."""
    result = subprocess.run(
        [sys.executable, str(EXAMPLE / "run.py"), "--out", str(tmp_path / "out")],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (1, "this needs prometheus: apt-get install prometheus\n") == (result.returncode, result.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--port", "--monitor-port"])
def test_a_port_that_is_none_is_a_usage_error(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rather than another port, which the system makes of it."""
    monkeypatch.setattr(sys, "argv", ["serving.py", option, "70000"])
    with pytest.raises(SystemExit, match="2"):
        load("serving").main()
    assert "must be from 0 to 65535" in capsys.readouterr().err


@pytest.fixture(scope="module")
def client() -> Any:
    return load("service").create_app().test_client()


def ask(client: Any, body: Any, content_type: str = "application/json") -> tuple[int, str]:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    with client.post("/predict", data=data, content_type=content_type) as response:
        return response.status_code, response.get_json().get("error", "")


ROW = [0.0] * 64


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "JSON|request"),
        ("[" * 100_000, 400, "nested too deeply"),
        ([ROW], 400, "the body must be"),
        ({"inputs": [ROW], "more": 1}, 400, "the body must be"),
        ({"inputs": []}, 400, "inputs must be a list of 1 to 100"),
        ({"inputs": [ROW] * 101}, 400, "inputs must be a list of 1 to 100"),
        ({"inputs": [ROW, ROW[1:]]}, 400, r"inputs\[1\] must be a list of 64 numbers"),
        ({"inputs": [["7", *ROW[1:]]]}, 400, r"inputs\[0\]\[0\] must be a number, got '7'"),
        ({"inputs": [[True, *ROW[1:]]]}, 400, "must be a number, got 'True'"),
        ({"inputs": [[17, *ROW[1:]]]}, 422, "must be from 0 to 16, got 17"),
        ({"inputs": [[float("nan"), *ROW[1:]]]}, 422, "must be from 0 to 16, got nan"),
        ({"inputs": [[10**400, *ROW[1:]]]}, 422, "must be from 0 to 16, got 1000"),
        (b" " * 300_000, 413, "exceeds|large"),
    ],
    ids=range(13),
)
def test_what_no_sensor_would_send_is_refused_with_a_reason(client: Any, body: Any, status: int, message: str) -> None:
    """With the place, the value and what is allowed; nothing of it reaches the model."""
    found, error = ask(client, body)
    assert status == found
    assert re.search(message, error), error


def test_another_type_of_content_is_refused(client: Any) -> None:
    """415, as HTTP has it."""
    assert 415 == ask(client, "1,2,3", "text/csv")[0]


def test_the_page_counts_what_was_asked() -> None:
    """Requests, errors and predictions; the gauges of the inputs come with the fiftieth."""
    service = load("service")
    client = service.create_app().test_client()
    digits = load("model").digits()
    assert 200 == ask(client, {"inputs": digits.unseen_inputs[:49].tolist()})[0]
    with client.get("/metrics") as response:
        assert 'inputs="recent"' not in response.text
    assert 200 == ask(client, {"inputs": digits.unseen_inputs[49:50].tolist()})[0]
    assert 422 == ask(client, {"inputs": [[99, *ROW[1:]]]})[0]
    with client.get("/metrics") as response:
        page = response.text
    for line in (
        'ml_requests_total{route="/predict",status="200"} 2.0',
        'ml_errors_total{reason="range"} 1.0',
        'ml_request_duration_seconds_count{route="/predict"} 3.0',
        'ml_input_kl_nats{inputs="recent"} ',
        'heflwr_http_request_cpu_seconds_count{method="POST",route="/predict",status="2xx"} 2.0',
    ):
        assert line in page
    assert 50 == sum(float(value) for value in re.findall(r"ml_predictions_total{.*} (\S+)", page))


def test_the_model_knows_digits_that_it_has_not_seen() -> None:
    """Better than nineteen in twenty."""
    model = load("model")
    digits = model.digits()
    found = model.trained(digits.inputs, digits.labels).predict(digits.unseen_inputs)
    assert np.mean(found == digits.unseen_labels) > 0.95


def test_the_divergence_is_kullback_s_and_leibler_s() -> None:
    """As SciPy computes it, of the last 50 inputs alone."""
    entropy = pytest.importorskip("scipy.stats").entropy
    drift = load("drift")
    rng = np.random.default_rng(1)
    training, old, recent = (rng.integers(0, 17, (size, 4)).astype(float) for size in (500, 90, 50))
    inputs = drift.RecentInputs(training)
    assert inputs.add(old[:49]) is None
    inputs.add(old)
    found = inputs.add(recent)

    def shares(values: np.ndarray) -> np.ndarray:
        counts = np.histogram(values, bins=[-np.inf, *drift.EDGES, np.inf])[0] + 0.5
        return counts / counts.sum()

    expected = np.mean([entropy(shares(recent[:, at]), shares(training[:, at])) for at in range(4)])
    assert found.kl_nats == pytest.approx(expected)
    assert found.variance == pytest.approx(recent.var(axis=0).mean())


def test_threads_that_add_at_once_lose_no_input() -> None:
    """Each row is in the ring, whole."""
    inputs = load("drift").RecentInputs(np.zeros((2, 3)), size=400)
    found: list[Any] = []

    def add(number: int) -> None:
        for _ in range(100):
            if (drift := inputs.add(np.full((1, 3), float(number)))) is not None:
                found.append(drift)

    threads = [threading.Thread(target=add, args=(number,), name=f"client {number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (last,) = found
    assert last.variance == pytest.approx(np.var([0, 1, 2, 3]))
