"""Summaries in MLflow, Weights & Biases and TensorBoard: written by the real packages, and read back.

Each package is imported by its own test: collecting this file costs nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import burn

from heflwr.callbacks import tensorboard as to_tensorboard
from heflwr.monitor import Monitor, Window

DOCS = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()

(EXAMPLE,) = [block for block in re.findall(r"```python\n(.*?)```", DOCS, re.S) if "import mlflow" in block]


@pytest.fixture(scope="module")
def monitor() -> Monitor:
    """Return a monitor whose run is over, and which measured more than by default."""
    monitor = Monitor(interval=0.05, runner="thread")
    monitor.set_metrics(threads=True)
    with monitor:
        burn(0.1)
    return monitor


@pytest.fixture(scope="module")
def window() -> Window:
    """Return a window of some CPU time, in a run that is over."""
    with Monitor(interval=0.05, runner="thread") as monitor, monitor.window("epoch 1") as window:
        burn(0.1)
    return window


def expected(measured: Monitor | Window) -> dict[str, float]:
    """Return the numbers by the names of docs/callbacks.md."""
    described = measured.describe()
    summary = {name: value for name, value in measured.summary().items() if not name.startswith("total_power_")}
    more = {"cpu_seconds": described["cpu_seconds"].total, "peak_memory_bytes": described["memory_bytes"].maximum}
    if isinstance(measured, Window):
        more["seconds"] = measured.seconds
    return {f"heflwr/{name}": value for name, value in (summary | more).items()}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have MLflow keep its runs in files here; its databases take six seconds to make."""
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.usefixtures("store")
def test_mlflow_has_the_summary_at_its_step(monitor: Monitor, window: Window) -> None:
    """Windows at their steps and a whole run without one, read back by MLflow's client."""
    import mlflow

    from heflwr.callbacks import mlflow as to_mlflow

    with mlflow.start_run() as run:
        to_mlflow.log_summary(window, step=7)
        assert mlflow.get_run(run.info.run_id).data.metrics == expected(window)
        to_mlflow.log_summary(monitor, step=8)
    client = mlflow.MlflowClient()
    (first, second) = client.get_metric_history(run.info.run_id, "heflwr/cpu_seconds")
    assert [(first.step, first.value), (second.step, second.value)] == [
        (7, expected(window)["heflwr/cpu_seconds"]),
        (8, expected(monitor)["heflwr/cpu_seconds"]),
    ]
    assert client.get_run(run.info.run_id).data.metrics == expected(window) | expected(monitor)


@pytest.mark.usefixtures("store")
def test_the_docs_say_what_works() -> None:
    """The example for MLflow in docs/callbacks.md: three epochs and the run."""
    import mlflow

    exec(EXAMPLE, {})
    run = mlflow.last_active_run()
    assert run is not None
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "heflwr/seconds")
    assert [entry.step for entry in history] == [0, 1, 2]


def test_weights_and_biases_has_the_summary(tmp_path: Path, monitor: Monitor, window: Window) -> None:
    """Offline: a window in the run's history at its step, the whole run in its summary, and both in its file."""
    import wandb

    from heflwr.callbacks import wandb as to_wandb

    settings = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True)
    with wandb.init(mode="offline", dir=tmp_path, project="heflwr", settings=settings) as run:
        to_wandb.log_summary(run, window, step=7)
        run.log({"loss": 0.5}, step=8)  # a step is complete when the next one begins
        told: dict[str, Any] = dict(run.summary)
        assert {name: value for name, value in told.items() if name.startswith("heflwr/")} == expected(window)
        to_wandb.log_summary(run, monitor)
        told = dict(run.summary)
        assert {name: told[name] for name in expected(monitor)} == expected(monitor)
    wandb.teardown()  # its service would outlive the test
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = file.read_bytes()
    assert all(name.encode() in written for name in expected(window) | expected(monitor))


def scalars(file: Path) -> Iterator[tuple[str, int, float]]:
    """Yield tag, step and value of each scalar in a file of events: records of a length, data, and a sum after each."""
    from tensorboardX.proto.event_pb2 import Event

    data, place = file.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        event = Event.FromString(data[place + 12 : place + 12 + length])
        yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)
        place += length + 16


def test_tensorboard_has_the_summary_as_scalars(tmp_path: Path, monitor: Monitor, window: Window) -> None:
    """A scalar a number, at its step, in single precision."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        to_tensorboard.log_summary(writer, window, step=7)
        to_tensorboard.log_summary(writer, monitor, step=8)
    (file,) = tmp_path.iterdir()
    found = {(tag, step): value for tag, step, value in scalars(file)}
    wanted = {(name, 7): value for name, value in expected(window).items()}
    wanted |= {(name, 8): value for name, value in expected(monitor).items()}
    assert found == pytest.approx(wanted, rel=1e-6)


def test_a_window_in_which_nothing_ran_is_no_row_of_zeros(tmp_path: Path) -> None:
    """Where the monitor does not run, nothing is written."""
    from tensorboardX import SummaryWriter

    with Monitor().window("idle") as window, SummaryWriter(str(tmp_path)) as writer:
        to_tensorboard.log_summary(writer, window, step=0)
    (file,) = tmp_path.iterdir()
    assert list(scalars(file)) == []
