"""The windows of one training: one for all of it and one an epoch. What every framework's callback opens and closes."""

from __future__ import annotations

from heflwr.callbacks._figures import figures
from heflwr.monitor import Monitor, Window


class Training:
    """Starts the monitor where it is not running, and then stops it after the training as well.

    Attributes:
        fit: The window of the latest training, None before the first.
        epochs: Those of its epochs, in order.
    """

    def __init__(self, monitor: Monitor) -> None:
        if not isinstance(monitor, Monitor):
            raise TypeError(f"monitor must be a heflwr Monitor, got {monitor!r} ({type(monitor).__name__})")
        self._monitor = monitor
        self._began_run = False
        self._open: list[Window] = []
        self.fit: Window | None = None
        self.epochs: list[Window] = []

    def begin(self) -> None:
        """Begin a training; one that an error ended without a word is over now.

        Raises:
            MonitorError: The monitor has to be started, and cannot be.
        """
        self.end()
        if not self._monitor.health.is_running:
            self._monitor.start()
            self._began_run = True
        self.epochs = []
        self.fit = self._enter("fit")

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, of which the first is 0; its window is called after what people count: "epoch 1"."""
        self.end_epoch()
        self.epochs.append(self._enter(f"epoch {epoch + 1}"))

    def end_epoch(self) -> dict[str, float]:
        """End the epoch, if one is open, and return what it took."""
        if len(self._open) < 2:
            return {}
        window = self._open.pop()
        window.__exit__(None, None, None)
        return figures(window)

    def end(self) -> None:
        """End the training, if one is open."""
        while self._open:
            self._open.pop().__exit__(None, None, None)
        if self._began_run:
            self._began_run = False
            self._monitor.stop()

    def _enter(self, name: str) -> Window:
        window = self._monitor.window(name)
        window.__enter__()
        self._open.append(window)
        return window
