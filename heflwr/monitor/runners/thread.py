"""The sampling loop in a daemon thread of the watching process: nothing to start, and the least overhead."""

from __future__ import annotations

import os
import threading

from heflwr.monitor.errors import MonitorError
from heflwr.monitor.plan import Plan
from heflwr.monitor.probes.tree import ProcessGone
from heflwr.monitor.recording import Recording
from heflwr.monitor.runners import STOP_SECONDS, SYNC_SECONDS
from heflwr.monitor.sampling import MARK, STOP, SYNC, WRITE, Inbox, Sampling

MARK_SECONDS = 0.02
"""Longest that a window's edge waits for the sample that is being taken at that moment, which is over in a fraction of
it; else (a slow source, or a signal handler inside that very sample) the edge is left to the loop."""


class ThreadRunner:
    """See `runners.Runner`."""

    def start(self, plan: Plan, recording: Recording) -> None:
        self._recording = recording
        self._patience = STOP_SECONDS + sum(sink.flush_seconds for sink in plan.sinks)
        self._inbox = Inbox()
        self._synced = threading.Event()
        self._has_deferred = False
        self._watches_self = plan.pid == os.getpid()
        self._thread = threading.Thread(target=self._run, name="heflwr-monitor", daemon=True)
        self._sampling = Sampling(plan, recording.sample)
        recording.report = self._sampling.report
        self._sampling.open()
        try:
            self._thread.start()
        except BaseException as error:
            self._sampling.close()
            if isinstance(error, RuntimeError):
                raise MonitorError(f"cannot start a thread ({error}); raise the limit of processes") from error
            raise

    def _run(self) -> None:
        try:
            self._sampling.run(
                self._inbox, on_sync=lambda token: self._synced.set(), leave_out_thread=self._watches_self
            )
        except BaseException as error:  # a defect of ours: it must show in health, never in training
            self._recording.fail(f"the sampling thread ended: {error!r}")
        finally:
            self._sampling.close()

    def mark(self, token: int) -> bool:
        """Take the sample in the caller's thread: the window's edge is exact, and it costs a reading."""
        if not self._thread.is_alive():
            return False
        try:
            if self._sampling.tick(token, patience=MARK_SECONDS):
                self._inbox.put(WRITE)
            else:
                self._has_deferred = True
                self._inbox.put(MARK, token)
        except ProcessGone:  # the loop finds out by itself, and says so
            return False
        return True

    def sync(self) -> None:
        """Samples are recorded as they are taken; only a mark that was left to the loop may be on its way."""
        if self._has_deferred and self._thread.is_alive():
            self._has_deferred = False
            self._synced.clear()
            self._inbox.put(SYNC)
            self._synced.wait(SYNC_SECONDS)
        self._sampling.refresh_report()

    def abandon(self) -> None:
        """Nothing to let go: the thread did not come along."""

    def stop(self) -> None:
        self._inbox.put(STOP)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._recording.fail(f"the sampling thread did not end within {self._patience:g} s; a sink hangs")
