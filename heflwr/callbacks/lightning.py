"""What a Lightning training takes, epoch by epoch: in the trainer's loggers, and as windows of the monitor."""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch.callbacks import Callback
except ModuleNotFoundError:  # the same library under its older name
    from pytorch_lightning.callbacks import Callback

from heflwr.callbacks._training import Training
from heflwr.monitor import Monitor


class MonitorCallback(Callback):  # type: ignore[misc]  # its package has no types
    """Opens a window for fit() and one for each epoch; starts the monitor where it is not running.

    Attributes:
        training: The windows, `training.fit` and `training.epochs`.

    Example:
        Trainer(max_epochs=3, callbacks=[MonitorCallback(Monitor(interval=1))]).fit(model)
    """

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self.training = Training(monitor)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.training.begin()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.training.begin_epoch(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log_dict(self.training.end_epoch())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.training.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.training.end()
