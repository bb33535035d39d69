"""The sampling loop in a child process: it does not share the interpreter lock with what it measures."""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import pickle
import struct
import subprocess
import sys
import threading
from pathlib import Path

from heflwr.monitor import errors
from heflwr.monitor.errors import AgentUnavailable, MonitorError
from heflwr.monitor.plan import Plan
from heflwr.monitor.recording import Recording
from heflwr.monitor.runners import STOP_SECONDS, SYNC_SECONDS
from heflwr.monitor.runners._frames import (
    BYE,
    COMMAND,
    READY,
    REFUSED,
    REPORT,
    SAMPLE,
    SAMPLE_HEAD,
    SYNCED,
    TOKEN,
    read_frame,
)
from heflwr.monitor.sample import Sample
from heflwr.monitor.sampling import MARK, SYNC, Report

START_SECONDS = 20.0
"""Longest that start() waits for the child: a Jetson Nano under full load needs some seconds to start Python."""

PIPE_BYTES = 1 << 20
"""Asked of the kernel for the pipe from the child, so that a stopped (SIGSTOP) parent does not stop the sampling."""

_BOOT = (
    "import sys,marshal;b=sys.stdin.buffer;n=int.from_bytes(b.read(4),'little');sys.path[:]=marshal.loads(b.read(n));"
    "from heflwr.monitor.runners._agent import main;main()"
)
"""Started with -I -S: no site, no user configuration, half the time and memory. Its search path is the parent's."""


class ProcessRunner:
    """See `runners.Runner`."""

    def start(self, plan: Plan, recording: Recording) -> None:
        self._recording = recording
        self._ready = threading.Event()
        self._synced = threading.Event()
        self._write_lock = threading.RLock()
        self._token = 0
        self._refusal: MonitorError | None = None
        self._is_ready = self._said_bye = self._is_stopping = False
        self._values = struct.Struct(f"<{len(plan.metrics)}d")
        self._patience = STOP_SECONDS + sum(sink.flush_seconds for sink in plan.sinks)
        try:
            pickled = pickle.dumps(plan)
        except Exception as error:
            raise AgentUnavailable(
                f"a sink cannot be sent to the sampling child ({error}); use runner='thread'"
            ) from error
        path = marshal.dumps([str(Path(__file__).parents[3]), *map(os.path.abspath, sys.path)])
        self._agent = self._spawn()
        assert self._agent.stdin is not None
        self._stdin = self._agent.stdin.fileno()
        self._reader = threading.Thread(target=self._read, name="heflwr-monitor-reader", daemon=True)
        self._reader.start()
        with contextlib.suppress(OSError):  # a child that died at once is told by its end of stream
            self._write(struct.pack("<I", len(path)) + path + struct.pack("<I", len(pickled)) + pickled)
            if hasattr(os, "set_blocking"):  # not on Windows before Python 3.12
                os.set_blocking(self._stdin, False)
        self._ready.wait(START_SECONDS)
        if not self._is_ready:
            self._end(patience=0.0)
            if self._refusal is None:
                how = f"ended with code {self._agent.returncode}" if self._ready.is_set() else "did not answer"
                self._refusal = AgentUnavailable(f"the sampling child ({sys.executable}) {how}; use runner='thread'")
            raise self._refusal

    def _spawn(self) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise AgentUnavailable("this interpreter does not know its own executable; use runner='thread'")
        command = [sys.executable, "-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _BOOT]
        try:
            agent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        except OSError as error:
            raise AgentUnavailable(f"cannot start {sys.executable}: {error}; use runner='thread'") from error
        with contextlib.suppress(ImportError, AttributeError, OSError):  # Linux only, and only a convenience
            import fcntl

            assert agent.stdout is not None
            fcntl.fcntl(agent.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return agent

    def mark(self, token: int) -> None:
        self._command(MARK, token)

    def sync(self) -> None:
        if self._is_ready and not self._said_bye and self._reader.is_alive():
            self._synced.clear()
            self._token += 1
            self._command(SYNC, self._token)
            self._synced.wait(SYNC_SECONDS)

    def abandon(self) -> None:
        self._write_lock = threading.RLock()  # a thread that did not come along may hold the old one
        self._close_pipes()
        self._agent.returncode = 0  # not our child: nothing to wait for, nothing to warn of

    def stop(self) -> None:
        self._is_stopping = True
        self._close_stdin()  # the agent's signal to finish, behind all that was asked of it before
        self._end(self._patience)

    def _command(self, command: str, token: int) -> None:
        with contextlib.suppress(OSError, ValueError), self._write_lock:  # the agent is gone: the reader says so
            os.write(self._stdin, COMMAND.pack(command.encode(), token))  # would block: the agent is stopped, give up

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._stdin, view) :]

    def _close_stdin(self) -> None:
        assert self._agent.stdin is not None
        with contextlib.suppress(OSError), self._write_lock:
            self._agent.stdin.close()

    def _read(self) -> None:
        """Take frames until the agent's end; runs in the reader thread."""
        stream = self._agent.stdout
        assert stream is not None
        buffered = open(stream.fileno(), "rb", closefd=False)  # noqa: SIM115 - the pipe has an owner
        with contextlib.suppress(OSError, ValueError):
            while (got := read_frame(buffered)) is not None:
                self._take(*got)
        if self._is_ready and not self._said_bye and not self._is_stopping:
            self._recording.fail(f"the sampling child (pid {self._agent.pid}) died; samples end here")
        self._ready.set()
        self._synced.set()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == SAMPLE:
            mark, sequence, time, elapsed = SAMPLE_HEAD.unpack_from(payload)
            values = self._values.unpack_from(payload, SAMPLE_HEAD.size)
            self._recording.sample(Sample(sequence, time, elapsed, values), mark)
        elif kind == SYNCED:
            if TOKEN.unpack(payload)[0] == self._token:
                self._synced.set()
        elif kind == REFUSED:
            name, text = json.loads(payload)
            self._refusal = getattr(errors, name)(text)
        elif kind in (READY, REPORT, BYE):
            self._recording.report = Report(**json.loads(payload))
            self._said_bye = kind == BYE
            self._is_ready = True
            self._ready.set()

    def _close_pipes(self) -> None:
        self._close_stdin()
        assert self._agent.stdout is not None
        with contextlib.suppress(OSError):
            self._agent.stdout.close()

    def _end(self, patience: float) -> None:
        """See the agent off: wait, then terminate, then kill. Never raises."""
        for nudge in (None, self._agent.terminate, self._agent.kill):
            if nudge is not None:
                self._recording.fail(f"the sampling child (pid {self._agent.pid}) did not end in time")
                with contextlib.suppress(OSError):
                    nudge()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._agent.wait(patience)
                break
            patience = 0.5
        self._reader.join(1.0)
        self._close_pipes()
