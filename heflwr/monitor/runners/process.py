"""The sampling loop in a child process: it does not share the interpreter lock with what it measures."""

from __future__ import annotations

import contextlib
import io
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
from heflwr.monitor.runners import _frames as frames
from heflwr.monitor.sample import Sample
from heflwr.monitor.sampling import MARK, STOP, SYNC, TELL, Report

START_SECONDS = 20.0
"""Longest that start() waits for the child: a Jetson Nano under full load needs some seconds to start Python."""

KILL_SECONDS = 1.0
"""Longest that stop() waits for a killed child to be gone."""

PIPE_BYTES = 1 << 20
"""Asked of the kernel for the pipe from the child, so that a stopped (SIGSTOP) parent does not stop the sampling."""

_BOOT = (
    "import sys,marshal;b=sys.stdin.buffer;n=int.from_bytes(b.read(4),'little') or sys.exit();"
    "sys.path+=marshal.loads(b.read(n));from heflwr.monitor.runners._agent import main;main()"
)
"""Started with -I -S: no site, no user configuration, half the time and memory. The parent's search path comes behind
its own, so that nothing there can stand in for the standard library."""


class ProcessRunner:
    """See `runners.Runner`."""

    _has_agent = False

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
        self._has_agent = True
        self._reader = threading.Thread(target=self._read, name="heflwr-monitor-reader", daemon=True)
        try:
            self._reader.start()
            with contextlib.suppress(OSError):  # a child that died at once is told by its end of stream
                self._write(struct.pack("<I", len(path)) + path + struct.pack("<I", len(pickled)) + pickled)
                if hasattr(os, "set_blocking"):  # not on Windows before Python 3.12
                    os.set_blocking(self._stdin(), False)
            self._ready.wait(START_SECONDS)
            if not self._is_ready:
                raise self._reason()
        except BaseException as error:  # also Ctrl-C: nothing stays behind that nobody could stop
            self._end(patience=0.0)
            if isinstance(error, RuntimeError) and not isinstance(error, MonitorError):
                raise AgentUnavailable(f"cannot start a thread ({error}); raise the limit of processes") from error
            raise

    def _reason(self) -> MonitorError:
        """Return why the agent is not ready."""
        if self._refusal is not None:
            return self._refusal
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._agent.wait(0.5 if self._ready.is_set() else 0.0)
        code = self._agent.returncode
        how = "did not answer" if code is None else f"ended with code {code}"
        return AgentUnavailable(f"the sampling child ({sys.executable}) {how}; use runner='thread'")

    def _spawn(self) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise AgentUnavailable("this interpreter does not know its own executable; use runner='thread'")
        command = [sys.executable, "-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _BOOT]
        try:
            agent = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                process_group=0 if os.name == "posix" else None,  # Ctrl-C is not for it, not even while it starts
            )
        except OSError as error:
            raise AgentUnavailable(f"cannot start {sys.executable}: {error}; use runner='thread'") from error
        with contextlib.suppress(ImportError, AttributeError, OSError):  # Linux only, and only a convenience
            import fcntl

            assert agent.stdout is not None
            fcntl.fcntl(agent.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return agent

    def mark(self, token: int) -> bool:
        return self._command(MARK, token)

    def tell(self, window: str) -> None:
        payload = window.encode()
        self._command(TELL, len(payload), payload)

    def sync(self) -> None:
        if self._is_ready and not self._said_bye:
            self._synced.clear()
            self._token += 1
            if self._command(SYNC, self._token):
                self._synced.wait(SYNC_SECONDS)

    def abandon(self) -> None:
        if not self._has_agent:
            return
        self._write_lock = threading.RLock()  # a thread that did not come along may hold the old one
        self._close_stdin()
        if self._agent.stdout is not None:
            self._agent.stdout.close()
        self._agent.returncode = 0  # not our child: nothing to wait for, nothing to warn of

    def stop(self) -> None:
        self._is_stopping = True
        self._command(STOP, 0)
        self._close_stdin()  # says the same to an agent whose pipe is full; a forked child may hold another copy
        self._end(self._patience)

    def _command(self, command: str, token: int, payload: bytes = b"") -> bool:
        """Send a command; return False where the agent is gone, or so long stopped that the pipe is full."""
        if not self._reader.is_alive():  # a write would meet SIGPIPE, which the user may have let kill
            return False
        try:
            with self._write_lock:
                os.write(
                    self._stdin(), frames.COMMAND.pack(command.encode(), token) + payload
                )  # whole: within PIPE_BUF
        except (OSError, ValueError):
            return False
        return True

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._stdin(), view) :]

    def _stdin(self) -> int:
        """Return the descriptor of the agent's stdin. Raises ValueError once that is closed."""
        assert self._agent.stdin is not None
        return self._agent.stdin.fileno()

    def _close_stdin(self) -> None:
        assert self._agent.stdin is not None
        with contextlib.suppress(OSError), self._write_lock:
            self._agent.stdin.close()

    def _read(self) -> None:
        """Take frames until the agent's end; runs in the reader thread."""
        assert isinstance(self._agent.stdout, io.RawIOBase)
        try:
            with io.BufferedReader(self._agent.stdout) as stream:  # this thread's own, and closed by it
                while (got := frames.read_frame(stream)) is not None:
                    self._take(*got)
        except Exception as error:  # bytes that are no frames
            if not self._is_stopping:
                self._recording.fail(f"the sampling child cannot be understood: {error!r}")
        if self._is_ready and not self._is_stopping:
            self._recording.fail(f"the sampling child (pid {self._agent.pid}) died; samples end here")
        self._ready.set()
        self._synced.set()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == frames.SAMPLE:
            mark, sequence, time, elapsed = frames.SAMPLE_HEAD.unpack_from(payload)
            values = self._values.unpack_from(payload, frames.SAMPLE_HEAD.size)
            self._recording.sample(Sample(sequence, time, elapsed, values), mark)
        elif kind == frames.SYNCED:
            if frames.TOKEN.unpack(payload)[0] == self._token:
                self._synced.set()
        elif kind == frames.REFUSED:
            name, text = json.loads(payload)
            self._refusal = getattr(errors, name)(text)
        elif kind in (frames.READY, frames.REPORT, frames.BYE):
            self._recording.report = Report(**json.loads(payload))
            self._said_bye = kind == frames.BYE
            self._is_ready = True
            self._ready.set()

    def _end(self, patience: float) -> None:
        """See the agent off: wait, then kill. Never raises."""
        try:
            self._agent.wait(patience)
        except subprocess.TimeoutExpired:
            self._recording.fail(f"the sampling child (pid {self._agent.pid}) did not end in time")
            with contextlib.suppress(OSError):
                self._agent.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._agent.wait(KILL_SECONDS)
        if self._reader.ident is not None:
            self._reader.join(KILL_SECONDS)
        self._close_stdin()
