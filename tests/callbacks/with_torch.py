"""The callbacks for Lightning and for Hugging Face's Trainer, on the real packages where PyTorch is installed.

PyTorch's wheel alone has half a gigabyte, so `make test` goes without:

    pip install torch lightning transformers accelerate
    python -m pytest -W default tests/callbacks/with_torch.py
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from heflwr.callbacks.lightning import MonitorCallback as LightningCallback
from heflwr.callbacks.transformers import MonitorCallback as TransformersCallback
from heflwr.monitor import Monitor

try:
    import lightning.pytorch as lightning
    from lightning.pytorch.loggers import CSVLogger
except ModuleNotFoundError:
    import pytorch_lightning as lightning
    from pytorch_lightning.loggers import CSVLogger

import transformers

EPOCHS = 3

NAMES = [f"epoch {number}" for number in range(1, EPOCHS + 1)]


def samples() -> torch.utils.data.TensorDataset:
    x = torch.arange(256.0).reshape(64, 4) / 256
    return torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))


class Line(lightning.LightningModule):
    """A linear regression, which may fail in an epoch."""

    def __init__(self, fails_in: int = -1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.fails_in = fails_in

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        if self.current_epoch == self.fails_in:
            raise ZeroDivisionError("on purpose")
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layer(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def lightning_trainer(folder: Path, callback: LightningCallback) -> Any:
    return lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        callbacks=[callback],
        logger=CSVLogger(folder, name="", version=""),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


@pytest.mark.parametrize("runner", ["process", "thread"])
def test_lightning_has_the_cost_of_an_epoch_beside_its_loss(tmp_path: Path, runner: str) -> None:
    """A window an epoch, its numbers in the logger's rows, and the monitor ends with the training."""
    monitor = Monitor(interval=0.05, runner=runner)
    callback = LightningCallback(monitor)
    lightning_trainer(tmp_path, callback).fit(Line(), torch.utils.data.DataLoader(samples(), batch_size=8))
    assert not monitor.health.is_running
    assert [window.name for window in callback.training.epochs] == NAMES
    assert callback.training.fit is not None
    assert callback.training.fit.seconds >= sum(window.seconds for window in callback.training.epochs)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    told = [float(row["heflwr/cpu_seconds"]) for row in rows if row.get("heflwr/cpu_seconds")]
    cost = [window.describe()["cpu_seconds"].total for window in callback.training.epochs]
    assert told == pytest.approx(cost, rel=1e-5)
    assert all(row["loss"] for row in rows if row.get("heflwr/cpu_seconds"))


def test_lightning_s_failed_training_leaves_nothing_open(tmp_path: Path) -> None:
    """The monitor ends with a training that raises, and the next one starts it again."""
    monitor = Monitor(interval=0.05, runner="thread")
    callback = LightningCallback(monitor)
    data = torch.utils.data.DataLoader(samples(), batch_size=8)
    with pytest.raises(ZeroDivisionError):
        lightning_trainer(tmp_path, callback).fit(Line(fails_in=1), data)
    assert not monitor.health.is_running
    assert [window.name for window in callback.training.epochs] == NAMES[:2]
    lightning_trainer(tmp_path / "again", callback).fit(Line(), data)
    assert [window.name for window in callback.training.epochs] == NAMES
    assert not monitor.health.is_running


class Words(torch.nn.Module):
    """A linear regression as Hugging Face's Trainer wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": torch.nn.functional.mse_loss(self.layer(x), labels)}


@pytest.mark.parametrize("runner", ["process", "thread"])
def test_transformers_has_the_cost_of_an_epoch_in_its_history(tmp_path: Path, runner: str) -> None:
    """A window an epoch, its numbers in log_history at the epoch's step; a monitor that runs already goes on."""
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=8,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    with Monitor(interval=0.05, runner=runner) as monitor:
        callback = TransformersCallback(monitor)
        rows = [{"x": x, "labels": y} for x, y in samples()]
        trainer = transformers.Trainer(Words(), arguments, train_dataset=rows, callbacks=[callback])
        trainer.train()
        assert monitor.health.is_running
    assert [window.name for window in callback.training.epochs] == NAMES
    told = [row for row in trainer.state.log_history if "heflwr/cpu_seconds" in row]
    assert [(row["epoch"], row["step"]) for row in told] == [(1.0, 8), (2.0, 16), (3.0, 24)]
    cost = [window.describe()["cpu_seconds"].total for window in callback.training.epochs]
    assert [row["heflwr/cpu_seconds"] for row in told] == cost
