"""What a training of Hugging Face's Trainer takes: in `trainer.state.log_history`, and as windows of the monitor."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from heflwr.callbacks._training import Training
from heflwr.monitor import Monitor


class MonitorCallback(TrainerCallback):  # type: ignore[misc]  # its package has no types
    """Opens a window for train() and one for each epoch; starts the monitor where it is not running.

    Attributes:
        training: The windows, `training.fit` and `training.epochs`.

    Example:
        Trainer(model, arguments, train_dataset=data, callbacks=[MonitorCallback(Monitor(interval=1))]).train()
    """

    def __init__(self, monitor: Monitor) -> None:
        self.training = Training(monitor)
        self._epoch = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.begin()
        self._epoch = int(state.epoch or 0)  # of a checkpoint: 1.5 is amid the second

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.begin_epoch(self._epoch)
        self._epoch += 1  # the state's own is a sum of steps, and need not be whole here

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.log_history.append({"epoch": state.epoch, "step": state.global_step, **self.training.end_epoch()})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.end()
