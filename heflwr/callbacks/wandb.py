"""What a run or a window took, in a run of Weights & Biases."""

from __future__ import annotations

from typing import Any

from heflwr.callbacks._figures import figures
from heflwr.monitor import Monitor, Window


def log_summary(run: Any, measured: Monitor | Window, step: int | None = None) -> None:
    """Log `heflwr/avg_cpu_usage` and so on at a step; without one, put them into the run's summary.

    Args:
        run: What `wandb.init()` returned.
        measured: What to log, best when it is over.
        step: The epoch or round that it belongs to; it must not be below the run's.
    """
    if step is None:
        run.summary.update(figures(measured))
    else:
        run.log(figures(measured), step=step)
