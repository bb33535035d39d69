"""Power rails of a Jetson board by NVIDIA's tegrastats: one long-lived child, whose every line is a reading.

A thread of its own reads the lines and stamps them as they arrive, so that energy does not depend on the sampling
interval. Never through sudo. The probes of a run share the child, and it ends with the last of them. When this process
is killed, nobody is left to end it: it dies of the closed pipe at its next line, one of its intervals later.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.power.meter import LevelMeter, Meter
from heflwr.monitor.probes.power.rails import NOT_CONNECTED, describe, find_board, total
from heflwr.monitor.probes.tree import AGENT_MARK

PROGRAM = "tegrastats"

CHILD_INTERVAL_RANGE = (0.1, 1.0)
"""Seconds between lines. Shorter, tegrastats itself burns a noticeable share of a core; longer, energy gets coarse."""

OPEN_SECONDS = 3.0
"""Longest wait for the first line with rails: a busy Nano takes most of a second to start it, then an interval."""

MUTE_LINES = 3
"""So many lines without a rail, and there will be none: what is printed does not change while it runs."""

STALL_SECONDS = 5.0
"""No line for so long, and the latest reading no longer says anything."""

_END_SECONDS = 0.5
_LINE_BYTES = 1 << 16
_SHOWN = 100
"""Characters of a strange line that an error quotes."""

_RAIL = re.compile(r"(?<!\S)([A-Z]\w*) (?:(-?\d+)mW(?:/-?\d+mW){0,2}|(-?\d+)(?:/-?\d+){1,2})(?!\S)")
"""`NAME now/average`, `NAME nowmW/averagemW`, either with `/max` behind, or `NAME nowmW`; nothing with another unit."""

_NOT_RAILS = frozenset({NOT_CONNECTED, "RAM", "SWAP", "IRAM"})


def parse(line: str) -> dict[str, float]:
    """Return the present power of each rail in a line of tegrastats, mW; empty where it shows none.

    Memory (`RAM 1/2MB`), temperatures (`GPU@30C`) and loads (`CPU [..]`) are not rails; channels that nothing is wired
    to (NC) are left out. Negative values stay as printed.
    """
    return {name: float(with_unit or bare) for name, with_unit, bare in _RAIL.findall(line) if name not in _NOT_RAILS}


Listener = Callable[[int, dict[str, float]], None]
"""Takes the columns of one line, mW, with the monotonic time that it came, ns."""


class Child:
    """The program, running from the first join() to the last leave(). Its calls may come from different threads."""

    def __init__(self, interval: float) -> None:
        """Remember the sampling interval, seconds."""
        shortest, longest = CHILD_INTERVAL_RANGE
        self.interval = min(max(interval, shortest), longest)
        self._door = threading.Lock()
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()  # of the latest line and of who gets the next

    def join(self, listener: Listener) -> dict[str, tuple[str, ...]]:
        """Start it unless it runs, and pass it the latest line and all further ones; return the rails of each column.

        Raises:
            SourceUnavailable: There is no such program, or it shows no power.
        """
        with self._door:
            if not self._listeners:
                self._start()
            elif self._has_ended:
                raise SourceUnavailable(f"{PROGRAM}: {self._ending()}")
            with self._lock:
                self._listeners.append(listener)
                listener(self._last_ns, self._last)
            return self._chosen

    def leave(self, listener: Listener) -> None:
        """Pass it no further line; the last to leave ends the child."""
        with self._door:
            with self._lock:
                self._listeners.remove(listener)
            if not self._listeners:
                self._end()

    def check(self, now_ns: int) -> None:
        """Make sure that it lives. Raises ChildProcessError where it has ended, TimeoutError where it is silent."""
        if self._has_ended:
            raise ChildProcessError(f"{PROGRAM} {self._ending()}")
        if (silent := (now_ns - self._last_ns) * 1e-9) > STALL_SECONDS:
            raise TimeoutError(f"{PROGRAM} (pid {self._child.pid}) has printed no power for {silent:.0f} s")

    def _start(self) -> None:
        path = shutil.which(PROGRAM)
        if path is None:
            raise SourceUnavailable(f"{PROGRAM}: not on PATH")
        self._chosen: dict[str, tuple[str, ...]] = {}
        self._strange: list[str] = []
        self._unknown = ""
        self._last: dict[str, float] = {}
        self._last_ns = 0
        self._has_ended = False
        self._is_decided = threading.Event()
        # With the mark in its name, its CPU time is not taken for the user's.
        command = [f"{PROGRAM} {AGENT_MARK.decode()}", "--interval", str(round(self.interval * 1000))]
        try:
            self._child = subprocess.Popen(
                command,
                executable=path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,  # what it complains of goes into our error, not onto the user's screen
                process_group=0,  # Ctrl-C is for the user's program; the last sample still needs a source
            )
        except OSError as error:
            raise SourceUnavailable(f"{PROGRAM}: cannot start {path} ({error.strerror})") from error
        self._reader = threading.Thread(target=self._read, name="heflwr-tegrastats", daemon=True)
        self._reader.start()
        try:
            self._is_decided.wait(OPEN_SECONDS)
            if not self._last_ns:
                raise SourceUnavailable(f"{PROGRAM}: {path} {self._reason()}")
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        for nudge in (signal.SIGTERM, signal.SIGKILL):
            if self._child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, nudge)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_SECONDS)
                break
        self._reader.join(_END_SECONDS)
        assert self._child.stdout is not None
        if not self._reader.is_alive():  # else some grandchild holds the other end: the thread waits for it, not we
            self._child.stdout.close()

    def _read(self) -> None:
        """Take lines until the child's end; runs in the reader thread."""
        stream = self._child.stdout
        assert stream is not None
        try:
            while line := stream.readline(_LINE_BYTES):
                self._take(time.monotonic_ns(), line.decode("utf-8", "replace").strip())
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_SECONDS)
            self._has_ended = True
            self._is_decided.set()

    def _take(self, at_ns: int, line: str) -> None:
        rails = parse(line)
        if not self._chosen:
            board = find_board(rails)
            chosen = board.choose(rails) if board else {}
            if not chosen:
                self._unknown = self._unknown or ", ".join(rails)
                self._strange = [*self._strange, line][:MUTE_LINES]
                if len(self._strange) == MUTE_LINES:
                    self._is_decided.set()
                return
            self._chosen = chosen
        if rails:
            columns = {column: total(rails, summed) for column, summed in self._chosen.items()}
            with self._lock:
                self._last, self._last_ns = columns, at_ns
                for listener in self._listeners:
                    listener(at_ns, columns)
            self._is_decided.set()

    def _reason(self) -> str:
        """Say why no reading came."""
        said = f"; it said {self._strange[0][:_SHOWN]!r}" if self._strange else ""
        if self._unknown:
            return f"shows only rails of a board that is not known here: {self._unknown}{said}"
        if self._has_ended:
            return f"{self._ending()}{said}"
        if self._strange:
            return f"shows no power rail (on some releases only to root: run as root){said}"
        return f"printed nothing within {OPEN_SECONDS:g} s"

    def _ending(self) -> str:
        """Say how the child came to its end."""
        code = self._child.returncode
        if code is None:
            return "closed its output"
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


class Tegrastats:
    """See `metering.Source`; its parts are those columns of `rails` that the board has."""

    needs_polling = False

    def __init__(self, child: Child) -> None:
        """Remember the child, which others may have joined."""
        self._child = child
        self.meters: dict[str, Meter] = {}

    def open(self) -> str:
        self.meters = {}
        chosen = self._child.join(self._take)
        return f"{PROGRAM} every {self._child.interval:g} s: {describe(chosen)}"

    def poll(self, now_ns: int) -> None:
        self._child.check(now_ns)

    def close(self) -> None:
        self._child.leave(self._take)

    def _take(self, at_ns: int, columns: dict[str, float]) -> None:
        """Take the columns of one line; the first call comes from within open()."""
        if not self.meters:
            self.meters = {column: LevelMeter() for column in columns}
        for column, meter in self.meters.items():
            meter.add(at_ns, columns[column])
