"""The sampling loop in a daemon thread of the watching process: nothing to start, and the least overhead."""

from __future__ import annotations

import os
import threading

from heflwr.monitor.errors import MonitorError
from heflwr.monitor.plan import Plan
from heflwr.monitor.probes.tree import ProcessGone
from heflwr.monitor.recording import Recording
from heflwr.monitor.runners import STOP_SECONDS
from heflwr.monitor.sampling import MARK, STOP, WRITE, Inbox, Sampling


class ThreadRunner:
    """See `runners.Runner`."""

    def start(self, plan: Plan, recording: Recording) -> None:
        self._recording = recording
        self._patience = STOP_SECONDS + sum(sink.flush_seconds for sink in plan.sinks)
        self._inbox = Inbox()
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
            self._sampling.run(self._inbox, on_sync=lambda token: None, leave_out_thread=self._watches_self)
        except BaseException as error:  # a defect of ours: it must show in health, never in training
            self._recording.fail(f"the sampling thread ended: {error!r}")
        finally:
            self._sampling.close()

    def mark(self, token: int) -> bool:
        """Take the sample in the caller's thread: the window's edge is exact, and it costs a reading."""
        if not self._thread.is_alive():
            return False
        try:
            if self._sampling.tick(token, patience=0.0):
                self._inbox.put(WRITE)
            else:
                self._inbox.put(MARK, token)  # another sample is being taken this very moment: right after it
        except ProcessGone:  # the loop finds out by itself, and says so
            return False
        return True

    def sync(self) -> None:
        """Nothing to wait for: samples are recorded as they are taken."""
        self._sampling.refresh_report()

    def abandon(self) -> None:
        """Nothing to let go: the thread did not come along."""

    def stop(self) -> None:
        self._inbox.put(STOP)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._recording.fail(f"the sampling thread did not end within {self._patience:g} s; a sink hangs")
