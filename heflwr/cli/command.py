"""A command that is held back until somebody watches it, then runs with our input, output and open files as its own."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNALLED = 128
"""Exit codes of every shell: it cannot be executed, there is none, and 128 + n for the signal n."""

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes: getrusage(2) of macOS counts in bytes, that of others in KiB."""

_LEFT_ALONE = 0
_GO = b"\x01"


class CannotRun(OSError):
    """There is no such command, or it is none."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        exit_code: Its own, or 128 + n where the signal n ended it.
        cpu_seconds: User and system time of it and of every child that was waited for; None where nobody tells.
        peak_bytes: The most memory that one of them held at a time; None where nobody tells.
    """

    exit_code: int
    cpu_seconds: float | None
    peak_bytes: int | None


def find(name: str) -> None:
    """Check that there is something to execute. Raises CannotRun."""
    if shutil.which(name) is not None:
        return
    if os.path.isdir(name):
        raise CannotRun(f"{name!r} is a directory", NOT_EXECUTABLE)
    if os.path.dirname(name) and os.path.exists(name):
        raise CannotRun(f"{name!r} is not executable; try: chmod +x {name}", NOT_EXECUTABLE)
    where = "" if os.path.dirname(name) else " on the PATH"
    raise CannotRun(f"there is no command {name!r}{where}", NOT_FOUND)


class HeldCommand:
    """A child process that waits before it becomes the command, so that whoever watches it misses nothing.

    A fork of our own instead of `subprocess`: that one returns when the command is running already, and closes
    descriptors that a shell may have opened for it.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Make the child; release() lets the command begin, and when we end before that, it never does."""
        self._words = list(words)
        gate_out, self._gate = os.pipe()
        self._answer, answer_in = os.pipe()
        self.pid = os.fork()
        if self.pid == _LEFT_ALONE:
            self._become(gate_out, answer_in)
        os.close(gate_out)
        os.close(answer_in)

    def _become(self, gate: int, answer: int) -> None:
        """In the child: wait for the word, then execute. Never returns."""
        try:
            os.close(self._gate)  # ours would keep it open when the parent is gone
            if os.read(gate, 1) == _GO:
                for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores these, and execve would hand that on
                    if hasattr(signal, name):
                        signal.signal(getattr(signal, name), signal.SIG_DFL)
                os.execvp(self._words[0], self._words)
        except OSError as error:
            os.write(answer, str(error.errno).encode())
        finally:
            os._exit(NOT_FOUND)

    def release(self) -> None:
        """Let the command begin. Raises CannotRun, with the child reaped."""
        os.write(self._gate, _GO)
        os.close(self._gate)
        said = os.read(self._answer, 16)  # nothing when execve succeeded: that closed the other end
        os.close(self._answer)
        if said:
            os.waitpid(self.pid, 0)
            code = int(said)
            reason = f"cannot execute {self._words[0]!r}: {os.strerror(code)}"
            raise CannotRun(reason, NOT_FOUND if code == errno.ENOENT else NOT_EXECUTABLE)

    def abandon(self) -> None:
        """End the child without the command ever beginning."""
        os.close(self._gate)
        os.close(self._answer)
        os.waitpid(self.pid, 0)

    def signal(self, number: int) -> None:
        """Hand a signal on."""
        os.kill(self.pid, number)

    def wait(self) -> None:
        """Return when the command has ended; its counters stay readable until reap(), where the system has waitid."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def reap(self) -> Outcome:
        """Wait for the end and take what is left of the process."""
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        peak_bytes = usage.ru_maxrss * _MAXRSS_UNIT
        # What a process held before execve counts in ru_maxrss, and here that was a copy of us.
        own = peak_bytes if peak_bytes > _own_peak_bytes() else None
        return Outcome(code if code >= 0 else SIGNALLED - code, usage.ru_utime + usage.ru_stime, own)


def _own_peak_bytes() -> int:
    """Return the most memory that this program held; not what its own process held before execve, as ru_maxrss does."""
    with suppress(OSError), open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


class StartedCommand:
    """The same shape where there is no fork (Windows): the command begins at once, and its first moment goes unseen."""

    def __init__(self, words: Sequence[str]) -> None:
        """Start the command."""
        self._process = subprocess.Popen(list(words))
        self.pid = self._process.pid

    def release(self) -> None:
        """Nothing is held back here."""

    def abandon(self) -> None:
        """End the command."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        """Hand a signal on."""
        self._process.send_signal(number)

    def wait(self) -> None:
        """Return when the command has ended."""
        self._process.wait()

    def reap(self) -> Outcome:
        """Take the exit code."""
        return Outcome(self._process.wait(), None, None)


def hold(words: Sequence[str]) -> HeldCommand | StartedCommand:
    """Return the command, made but not begun (where the system can do that). Raises CannotRun."""
    find(words[0])
    return HeldCommand(words) if hasattr(os, "fork") else StartedCommand(words)
