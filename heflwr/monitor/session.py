"""One start() of a monitor, from the user's side: what is recorded, and who records it."""

from __future__ import annotations

import json

from heflwr.monitor.metrics import in_groups
from heflwr.monitor.plan import Plan
from heflwr.monitor.recording import Recording, Section
from heflwr.monitor.runners import Runner

NAME_LENGTH = 256
"""Longest name of a window that sinks are told, characters: with it a command fits into one write to a pipe."""


class Session:
    """What stats(), summary() and windows speak to; before start() it is empty, after stop() it stays.

    Attributes:
        groups: Which metric groups are on in this session.
        recording: Its samples and aggregates.
        is_running: Between start() and stop().
    """

    def __init__(self, groups: dict[str, bool], capacity: int) -> None:
        self.groups = dict(groups)
        self.recording = Recording(in_groups(groups), capacity)
        self.is_running = False
        self._runner: Runner | None = None
        self._is_over = self._is_told_of_windows = False

    def start(self, plan: Plan, runner: Runner) -> None:
        """Start the runner. Raises MonitorError, and then nothing is left running."""
        self._is_told_of_windows = any(hasattr(sink, "window") for sink in plan.sinks)
        self._runner = runner  # known before it runs: a child forked in the meantime lets go of it
        runner.start(plan, self.recording)
        self.is_running = True

    def stop(self) -> None:
        """End the run; never raises."""
        self.is_running = False
        if self._runner is not None:
            self._runner.stop()
        self._is_over = True

    def sync(self) -> None:
        """Wait a moment until the recording holds what has been sampled by now."""
        if self.is_running and self._runner is not None:
            self._runner.sync()

    def open(self, section: Section) -> None:
        """Have a sample taken now that begins the section."""
        self._mark(section, opens=True)

    def close(self, section: Section) -> None:
        """Have a sample taken now that ends the section."""
        self._mark(section, opens=False)

    def tell(self, name: str, start: float, end: float | None) -> None:
        """Have sinks told of a window of the run: its Unix times in seconds, no end while it is open."""
        if self._runner is not None and self.is_running and self._is_told_of_windows:
            self._runner.tell(json.dumps({"name": str(name)[:NAME_LENGTH], "start": start, "end": end}))

    def let_go(self) -> bool:
        """Let go, in a forked child, of the parent's run; return False where there is none: what is recorded stays."""
        self.recording.renew_lock()
        if self._runner is None or self._is_over:
            return False
        self.is_running = False
        self._runner.abandon()
        return True

    def _mark(self, section: Section, *, opens: bool) -> None:
        token = self.recording.expect_mark(section, opens=opens)
        if self._runner is None or not self.is_running or not self._runner.mark(token):
            self.recording.forget_mark(token)
