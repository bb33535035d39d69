"""A folder of places where the sampling loop can run: one file each."""

from __future__ import annotations

from typing import Protocol

from heflwr.monitor.plan import Plan
from heflwr.monitor.recording import Recording

STOP_SECONDS = 5.0
"""Longest that stop() waits for the loop itself; sinks that flush over a network have their own time on top."""

SYNC_SECONDS = 0.25
"""Longest that a question (stats, summary, health) waits for the latest answer before it gives what is known."""


class Runner(Protocol):
    """Carries out a plan somewhere. One runner, one run."""

    def start(self, plan: Plan, recording: Recording) -> None:
        """Start; when it returns, the baselines are set and sinks are open.

        Raises:
            MonitorError: Something that the plan needs cannot be had here; nothing is left running.
        """

    def mark(self, token: int) -> bool:
        """Have a sample taken now that carries `token`; return False where that is not to be had.

        Never raises, and takes no longer than the sample.
        """

    def tell(self, window: str) -> None:
        """Have sinks told of a window (JSON: name, start, end). Never raises, never waits."""

    def sync(self) -> None:
        """Wait, SYNC_SECONDS at most, until the recording holds what has been sampled by now."""

    def abandon(self) -> None:
        """Let go, in a forked child, of what belongs to the parent's run, without touching it."""

    def stop(self) -> None:
        """Take a last sample, close everything, end. Never raises; waits no longer than it says."""
