"""What a run or a window took, as metrics of the active MLflow run."""

from __future__ import annotations

import mlflow

from heflwr.callbacks._figures import figures
from heflwr.monitor import Monitor, Window


def log_summary(measured: Monitor | Window, step: int | None = None) -> None:
    """Log the summary in numbers, `heflwr/avg_cpu_usage` and so on; MLflow begins a run where none is active.

    Args:
        measured: What to log, best when it is over.
        step: The epoch or round that it belongs to.
    """
    mlflow.log_metrics(figures(measured), step=step)
