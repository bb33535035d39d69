"""A history's file that grows with the run: whatever becomes of the server, what it had learned is there."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from heflwr.flower.entry import Entry
from heflwr.flower.history import lines

if TYPE_CHECKING:
    from heflwr.flower.history.ledger import History

_FLAGS = os.O_APPEND | os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

LOCK_SECONDS = 2.0
"""Longest that open() waits for another run to close the file: one that nobody holds any more closes a moment later."""

_LOCK_AGAIN_SECONDS = 0.05

_LOOKED_AT_BYTES = 4096
"""How much of an existing file is looked at for a header; ours is about 1 KiB long."""


class HistoryFile:
    """Appends each message to a file of JSON lines as soon as it is answered or given up; `History.load` reads it.

    A line is one write(). Every run begins with a header of its own: where the file holds a history already, the new
    one follows, and load() reads the newest. One run at a time: the lines of two could not be told apart. At the end
    come the server's own metrics, its overhead and what failed. Only open() raises; later failures are counted in the
    history's `faults`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Remember where to write.

        Args:
            path: Ends in .jsonl; the directory is created where there is none.

        Raises:
            ValueError: Another ending.
        """
        self._path = Path(path).absolute()
        if self._path.suffix.lower() != ".jsonl":
            raise ValueError(f"a history that grows is JSON lines: the ending must be .jsonl, got {os.fspath(path)!r}")
        self._lock = threading.Lock()
        self._descriptor = -1
        self._is_torn = False
        self._header_at = self._header_end = 0  # where this run begins in the file, and its first line ends

    def open(self, history: History) -> None:
        """Begin a run.

        Args:
            history: The one that the entries come from.

        Raises:
            OSError: The file cannot be written, or another run is writing it.
            ValueError: The file holds something else.
        """
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._history = history
        descriptor = os.open(self._path, _FLAGS, 0o666)
        try:
            self._lock_file(descriptor)
            self._is_torn = self._look_at(descriptor)
            self._header_at = os.lseek(descriptor, 0, os.SEEK_END)
            self._descriptor = descriptor
            self._write(lines.header())
            self._header_end = os.lseek(descriptor, 0, os.SEEK_END)
        except BaseException:
            self._descriptor = -1
            os.close(descriptor)
            raise

    def sent(self, kind: str, round: int, nodes: int) -> None:
        """Nothing: only what became of a message is written."""

    def entry(self, entry: Entry) -> None:
        """Append a message."""
        try:
            with self._lock:
                if self._descriptor >= 0:
                    self._write(lines.message(entry))
        except Exception as error:  # a full disk must not end the federation
            self._history.fault(type(self).__name__, error)

    def close(self) -> None:
        """Append what belongs to the run as a whole; safe to call twice.

        A run that never began, since another sink could not be opened, is taken back: load() would find it empty, and
        not the one before it.
        """
        with self._lock:
            if self._descriptor < 0:
                return
            try:
                rest = list(lines.rest(self._history.contents()))
                if self._header_at and not rest and os.lseek(self._descriptor, 0, os.SEEK_END) == self._header_end:
                    os.ftruncate(self._descriptor, self._header_at)
                for line in rest:
                    self._write(line)
            except Exception as error:
                self._history.fault(type(self).__name__, error)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _lock_file(self, descriptor: int) -> None:
        """Keep other runs off the file until it is closed, where the system can. Raises OSError."""
        try:
            import fcntl
        except ImportError:  # not a POSIX system
            return
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise OSError(f"another run is writing {self._path}; choose another file") from error
                time.sleep(_LOCK_AGAIN_SECONDS)
            except OSError:  # a file system without locks
                return
            else:
                return

    def _look_at(self, descriptor: int) -> bool:
        """Return whether the last line has no end. Raises ValueError where the file is no history."""
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if not size:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        if f'"type":"{lines.HEADER}"'.encode() not in os.read(descriptor, _LOOKED_AT_BYTES):
            raise ValueError(f"{self._path} holds something that is no history of heflwr; choose another file")
        os.lseek(descriptor, -1, os.SEEK_END)
        return os.read(descriptor, 1) != b"\n"

    def _write(self, line: str) -> None:
        data = ("\n" if self._is_torn else "").encode() + line.encode()
        self._is_torn = True  # until all of it is there; a torn line costs itself, not the one after it
        written = os.write(self._descriptor, data)
        if written < len(data):
            raise OSError(f"{self._path}: only {written} of {len(data)} bytes of a line could be written")
        self._is_torn = False
