"""How the monitoring itself fares, for people and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Health:
    """How the monitoring itself fares.

    Attributes:
        is_running: Between start() and stop().
        is_complete: True while nothing ended the run early: stats() and summary() tell the whole story.
        failure: Why the run ended early, "" if it did not.
        samples: Samples taken.
        forgotten: Samples no longer kept (they still count in summary()).
        missed_ticks: Ticks that fell due while an earlier one, or the machine, was busy.
        errors: Failed reads and writes, by metric group or sink.
        last_error: The latest of them.
        sources: Where each group's numbers come from.
        sinks: What each sink says of itself.
        limits: The container's limits: cpu_cores, memory_bytes (None where there is none) and the source.
    """

    is_running: bool
    is_complete: bool
    failure: str
    samples: int
    forgotten: int
    missed_ticks: int
    errors: dict[str, int]
    last_error: str
    sources: dict[str, str]
    sinks: list[dict[str, Any]]
    limits: dict[str, Any]
