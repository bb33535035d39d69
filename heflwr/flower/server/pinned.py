"""A block of lines that stays below whatever else this process writes to a terminal, its logging included.

A logging handler keeps the stream that it was made with, so replacing sys.stderr alone would not reach it: while a
block is open, handlers of that stream are redirected too. The cursor is never hidden and no mode of the terminal is
changed: however the process ends, the terminal is as it was. What a child process or a C library writes is not seen
here, and the block and it may cover each other.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

DRAW_SECONDS = 0.25
"""Shortest time between two drawings that others' output causes: a burst of log lines costs one."""

CLOSE_SECONDS = 1.0
"""Longest that close() waits for a thread that hangs in a write: somebody has stopped the terminal's output."""

USUAL_SIZE = os.terminal_size((80, 24))
"""For terminals that do not know theirs."""

_COLOR = re.compile(r"\x1b\[[0-9;]*m")


class PinnedLines:
    """Holds the bottom of a terminal between open() and close(); safe to use from any thread."""

    def __init__(self, stream: IO[str]) -> None:
        """Remember the terminal."""
        self._stream = stream
        self._descriptor = stream.fileno()
        self._lock = threading.RLock()  # a signal handler may write while its own thread draws
        self._is_open = False
        self._lines: tuple[str, ...] = ()
        self._drawn: tuple[int, int] | None = None  # rows and the terminal's width, None where no block is to be seen
        self._drawn_at = 0.0
        self._is_at_line_start = True
        self._pid = 0
        self._writers: list[_Above] = []

    def open(self) -> None:
        """Take over sys.stdout and sys.stderr as far as they lead to this terminal, and logging handlers with them."""
        self._pid = os.getpid()
        self._is_open = True
        originals: list[Any] = [self._stream]
        for name in ("stderr", "stdout", "__stderr__", "__stdout__"):
            candidate = getattr(sys, name)
            if not any(candidate is known for known in originals) and self._leads_here(candidate):
                originals.append(candidate)
        self._writers = [_Above(original, self) for original in originals]
        for writer in self._writers:
            writer.stream.flush()
            for name in ("stderr", "stdout"):
                if getattr(sys, name) is writer.stream:
                    setattr(sys, name, writer)
            for handler in _stream_handlers():
                if handler.stream is writer.stream:
                    handler.setStream(writer)

    def size(self) -> os.terminal_size:
        """Return columns and rows of the terminal."""
        try:
            size = os.get_terminal_size(self._descriptor)
        except OSError:
            return USUAL_SIZE
        return size if size.columns > 0 and size.lines > 0 else USUAL_SIZE

    def show(self, lines: Sequence[str]) -> None:
        """Replace the block; lines that the terminal has no row for are left out.

        Args:
            lines: Each narrower than the terminal, no control characters but colors in it.
        """
        with self._lock:
            self._lines = tuple(lines)
            if self._is_open and self._is_at_line_start:
                self._draw()

    def write_above(self, stream: IO[str], text: str) -> int:
        """Write others' text to `stream`, above the block."""
        if not self._is_open or os.getpid() != self._pid:  # a forked child: its parent's block is not its own
            return stream.write(text)
        with self._lock:
            if self._drawn is not None:
                self._put(self._home() + "\x1b[J")
                self._drawn = None
            written = stream.write(text)
            stream.flush()
            if visible := _COLOR.sub("", text):
                self._is_at_line_start = visible.endswith("\n")
            if self._is_open and self._is_at_line_start and time.monotonic() - self._drawn_at >= DRAW_SECONDS:
                self._draw()
            return written

    def is_covered(self) -> bool:
        """Return True where others' output has taken the block's place, and show() is due."""
        return self._is_open and self._drawn is None and self._is_at_line_start

    def close(self) -> None:
        """Give the streams back; the block as it was shown last stays where it is, as a part of the output."""
        for writer in self._writers:
            for name in ("stderr", "stdout"):
                if getattr(sys, name) is writer:
                    setattr(sys, name, writer.stream)
            for handler in _stream_handlers():
                if handler.stream is writer:
                    handler.setStream(writer.stream)
        self._writers = []
        if self._is_open and self._lock.acquire(timeout=CLOSE_SECONDS):
            try:
                if not self._is_at_line_start:
                    self._put("\n")
                if self._drawn is None and self._lines:
                    self._draw()
                self._drawn, self._lines, self._is_at_line_start = None, (), True
            finally:
                self._lock.release()
        self._is_open = False

    def _leads_here(self, stream: Any) -> bool:
        try:
            return bool(stream.isatty() and os.path.sameopenfile(stream.fileno(), self._descriptor))
        except (AttributeError, OSError, ValueError):  # none, closed, or no file at all
            return False

    def _draw(self) -> None:
        size = self.size()
        lines = self._lines[: size.lines - 1]  # the cursor rests on the row below
        body = "".join(f"{line}\x1b[K\n" for line in lines)
        self._put(f"{self._home()}{body}\x1b[J")
        self._drawn = (len(lines), size.columns) if lines else None
        self._drawn_at = time.monotonic()

    def _home(self) -> str:
        """Return what moves the cursor from below the block to its beginning.

        Where the terminal became narrower or lower meanwhile nobody knows where that is (some terminals wrap lines
        anew, some cut them): then the old block stays as it is, rather than that a line of somebody else's is lost.
        """
        if self._drawn is None:
            return ""
        rows, columns = self._drawn
        size = self.size()
        return f"\r\x1b[{rows}A" if size.columns >= columns and size.lines > rows else "\r"

    def _put(self, text: str) -> None:
        """Write in one piece, so that little can come between; a terminal that is gone is left alone from then on."""
        data = text.encode(getattr(self._stream, "encoding", None) or "ascii", "replace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self._is_open = False


class _Above:
    """A stream in place of `stream`: what is written to it appears above the block."""

    def __init__(self, stream: IO[str], pinned: PinnedLines) -> None:
        self.stream = stream
        self._pinned = pinned

    def write(self, text: str) -> int:
        return self._pinned.write_above(self.stream, text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stream"], name)


def is_taken(stream: object) -> bool:
    """Return True where `stream` already writes above somebody's block."""
    return isinstance(stream, _Above)


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    """Yield every handler in use that writes to a stream."""
    for logger in [logging.root, *logging.root.manager.loggerDict.copy().values()]:
        if isinstance(logger, logging.Logger):  # else a place for one that nobody has asked for
            for handler in tuple(logger.handlers):
                if isinstance(handler, logging.StreamHandler):
                    yield handler
