"""The sampling loop in a daemon thread of the watching process: nothing to start, and the least overhead."""

from __future__ import annotations

import os
import threading
import time

from heflwr.monitor.errors import MonitorError
from heflwr.monitor.plan import Plan
from heflwr.monitor.recording import Recording
from heflwr.monitor.runners import STOP_SECONDS, SYNC_SECONDS
from heflwr.monitor.sample import Sample
from heflwr.monitor.sampling import MARK, STOP, TELL, Inbox, Sampling

MARK_SECONDS = 0.02
"""Longest that a window's edge waits for its sample; meanwhile the loop has the interpreter, and is done in a tenth of
a millisecond. Where a source is slower than this, the edge comes a moment late."""


class ThreadRunner:
    """See `runners.Runner`."""

    def start(self, plan: Plan, recording: Recording) -> None:
        self._recording = recording
        self._patience = STOP_SECONDS + sum(sink.flush_seconds for sink in plan.sinks)
        self._inbox = Inbox()
        self._edges: dict[int, threading.Lock] = {}  # each held until the sample with its token has been taken
        self._watches_self = plan.pid == os.getpid()
        self._thread = threading.Thread(target=self._run, name="heflwr-monitor", daemon=True)
        self._sampling = Sampling(plan, self._deliver)
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
            self._sampling.run(self._inbox, leave_out_thread=self._watches_self)
        except BaseException as error:  # a defect of ours: it must show in health, never in training
            self._recording.fail(f"the sampling thread ended: {error!r}")
        finally:
            self._sampling.close()

    def _deliver(self, sample: Sample, mark: int) -> None:
        self._recording.sample(sample, mark)
        if mark and (edge := self._edges.pop(mark, None)):
            edge.release()

    def mark(self, token: int) -> bool:
        """Have the loop take the sample, and wait for it, so that the window's edge is where the caller is."""
        if not self._thread.is_alive():
            return False
        edge = self._edges[token] = threading.Lock()
        edge.acquire()
        self._inbox.put(MARK, token)
        edge.acquire(timeout=MARK_SECONDS)
        return True

    def tell(self, window: str) -> None:
        self._inbox.put(TELL, window)

    def sync(self) -> None:
        """Samples are recorded as they are taken; only the edge of a window may be late."""
        until = time.monotonic() + SYNC_SECONDS
        while self._edges and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.001)
        self._sampling.refresh_report()

    def abandon(self) -> None:
        """Nothing to let go: the thread did not come along."""

    def stop(self) -> None:
        self._inbox.put(STOP)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._recording.fail(f"the sampling thread did not end within {self._patience:g} s; a sink hangs")
