"""What a Keras training takes, epoch by epoch: in `history.history` beside the loss, and as windows of the monitor."""

from __future__ import annotations

from typing import Any

import keras

from heflwr.callbacks._training import Training
from heflwr.monitor import Monitor


class MonitorCallback(keras.callbacks.Callback):  # type: ignore[misc]  # its package has no types
    """Opens a window for fit() and one for each epoch; starts the monitor where it is not running.

    Attributes:
        training: The windows, `training.fit` and `training.epochs`.

    Example:
        model.fit(x, y, epochs=3, callbacks=[MonitorCallback(Monitor(interval=1))])
    """

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self.training = Training(monitor)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.training.begin()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.training.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        took = self.training.end_epoch()
        if logs is not None:  # the very dictionary that later callbacks and the history read
            logs.update(took)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.training.end()
