"""Processes of this machine: brought up, each with a log, and taken down whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

START_SECONDS = 60.0
GRACE_SECONDS = 10.0
"""Until a process that was asked to end is killed."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A request's arithmetic runs in the thread that serves it, so that its CPU time is the thread's."""


class StartError(Exception):
    """A process did not come up. The text names its log."""


class Processes:
    """A context manager: on leaving, all that was started ends, with its children."""

    def __init__(self, logs: Path) -> None:
        """Remember the folder for logs."""
        self._logs = logs
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._started.values():
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._started.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # itself if it did not end, and what it left behind
            process.wait()

    def start(self, name: str, *command: str | Path) -> None:
        """Start a process."""
        path = self._logs / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                env=os.environ | _ONE_THREAD,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, and we end the others
            )
        self._started[name] = process

    def wait(self, name: str, ready: str) -> re.Match[str]:
        """Return where a process's log matches `ready`. Raises StartError when it does not come to that."""
        process, path = self._started[name], self._logs / f"{name}.log"
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(ready, path.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{name} does not start, see {path}")
            time.sleep(0.05)
        return found
