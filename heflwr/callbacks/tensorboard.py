"""What a run or a window took, as scalars for TensorBoard."""

from __future__ import annotations

from typing import Any, Protocol

from heflwr.callbacks._figures import figures
from heflwr.monitor import Monitor, Window


class Writer(Protocol):
    """A SummaryWriter, of `tensorboardX` or of `torch.utils.tensorboard`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> Any:
        """Write one number."""


def log_summary(writer: Writer, measured: Monitor | Window, step: int | None = None) -> None:
    """Write `heflwr/avg_cpu_usage` and so on, a scalar each.

    Args:
        writer: Where to.
        measured: What to write, best when it is over.
        step: The epoch or round that it belongs to.
    """
    for name, value in figures(measured).items():
        writer.add_scalar(name, value, step)
