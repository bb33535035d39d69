"""The Keras callback in the real Keras on JAX, in an interpreter of its own: Keras configures itself once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "callbacks.md").read_text()

(EXAMPLE,) = [block for block in re.findall(r"```python\n(.*?)```", DOCS, re.S) if "import keras" in block]

WITHOUT_SKLEARN = "import sys; sys.modules['sklearn'] = None\n"
"""Keras has wrappers for it, and loads it for a second."""

TRAININGS = """
import json

def told(training):
    return {
        "fit": training.fit.seconds,
        "names": [window.name for window in training.epochs],
        "cpu_seconds": [window.describe()["cpu_seconds"].total for window in training.epochs],
        "seconds": [window.seconds for window in training.epochs],
        "is_running": monitor.health.is_running,
    }

class Failing(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise ZeroDivisionError

def fit(callback, *others):
    history = model.fit(x, x.sum(1), initial_epoch=5, epochs=7, verbose=0, callbacks=[callback, *others])
    return history.history | told(callback.training)

found = {"example": history.history | told(callback.training)}
monitor = Monitor(interval=0.05, runner="thread")
callback = MonitorCallback(monitor)
try:
    fit(callback, Failing())
except ZeroDivisionError:
    found["failed"] = told(callback.training)
found["again"] = fit(callback)
with monitor:
    found["running"] = fit(callback)
try:
    MonitorCallback("client-3")
except TypeError as error:
    found["wrong"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the trainings said of themselves: that of the docs, one that fails, and two after it."""
    home = tmp_path_factory.mktemp("keras")
    (home / "train.py").write_text(WITHOUT_SKLEARN + EXAMPLE + TRAININGS)
    environment = os.environ | {"KERAS_BACKEND": "jax", "KERAS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, home / "train.py"], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_the_history_has_the_cost_of_each_epoch_beside_its_loss(trainings: dict[str, Any]) -> None:
    """The docs' example: a window an epoch, its numbers in the history, and the monitor ends with the training."""
    example = trainings["example"]
    assert example["names"] == ["epoch 1", "epoch 2", "epoch 3"]
    assert len(example["loss"]) == 3
    assert example["heflwr/cpu_seconds"] == example["cpu_seconds"]
    assert example["heflwr/seconds"] == example["seconds"]
    assert example["fit"] >= sum(example["seconds"])
    assert all(peak > 0 for peak in example["heflwr/peak_memory_bytes"])
    assert not any("power" in name for name in example)  # a group that is off has no numbers
    assert example["is_running"] is False


def test_epochs_are_counted_as_keras_counts_them(trainings: dict[str, Any]) -> None:
    """A training that goes on from an earlier one begins with that epoch's number."""
    assert trainings["again"]["names"] == ["epoch 6", "epoch 7"]


def test_a_training_that_failed_does_not_spoil_the_next(trainings: dict[str, Any]) -> None:
    """Its monitor runs on, as Keras tells no callback; the next training ends it and starts afresh."""
    assert trainings["failed"]["names"] == ["epoch 6"]
    assert trainings["failed"]["is_running"] is True
    assert trainings["again"]["heflwr/cpu_seconds"] == trainings["again"]["cpu_seconds"]
    assert trainings["again"]["is_running"] is False


def test_a_monitor_that_runs_already_goes_on(trainings: dict[str, Any]) -> None:
    """The callback stops only what it has started."""
    assert trainings["running"]["is_running"] is True
    assert len(trainings["running"]["heflwr/cpu_seconds"]) == 2


def test_a_callback_asks_for_a_monitor(trainings: dict[str, Any]) -> None:
    """What is none is named when the callback is made."""
    assert trainings["wrong"] == "monitor must be a heflwr Monitor, got 'client-3' (str)"
