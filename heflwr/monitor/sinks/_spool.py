"""Rows of one run on disk until the collector has them: they outlive the process, and the next one sends them.

    <spool>/<collector's URL, quoted>/<run>/lock            held as long as a process cares for this run
                                            position        segment and offset up to which the collector has the rows
                                            00000001.jsonl  segment: a line with endpoint and head, then a row a line

A row is one write(): a killed process leaves whole rows behind. Nothing waits for the disk (no fsync), so a power cut
may cost the rows of the last seconds, as long as the operating system keeps them in memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO
from urllib.parse import quote

from heflwr.monitor.sinks._claim import claim, release
from heflwr.monitor.sinks._outbox import Batch

SEGMENT_BYTES = 1 << 20
"""A segment is deleted as a whole, so it is small beside the spool."""

SPOOL_SEGMENTS = 256
"""256 MiB, some two million rows: the oldest segment goes when one more is needed."""

_FLAGS = os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@dataclass(slots=True)
class _Segment:
    number: int
    waiting: int  # rows that the collector does not have yet
    offset: int = 0  # where they begin


class Spool:
    """An outbox on disk. `begin` makes one for a new run, `leftovers` finds those of runs whose process is gone."""

    def __init__(self, directory: Path, lock: int, segments: deque[_Segment], label: bytes = b"") -> None:
        self._directory = directory
        self._label = label  # first line of each segment
        self._descriptor = -1
        self._end = 0
        self._segments = segments
        self._lock_file = lock
        self._lock = threading.Lock()
        self._is_closed = False
        self._position = -1
        self.dropped = 0

    @classmethod
    def begin(cls, home: Path, run: str, path: str, head: str) -> Spool:
        """Return an empty spool for a run. Raises OSError where the directory cannot be had."""
        directory = home / run
        while True:
            directory.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # someone took the still empty directory for a leftover
                if (lock := claim(directory)) is not None:
                    return cls(directory, lock, deque(), f"{path} {head}\n".encode())

    @property
    def waiting(self) -> int:
        return sum(segment.waiting for segment in tuple(self._segments))

    def append(self, row: str) -> None:
        """Take one row; on return it is the operating system's. Raises OSError where the disk does not take it."""
        line = row.encode() + b"\n"
        with self._lock:
            if self._descriptor < 0 or self._end + len(line) > SEGMENT_BYTES:
                self._next_segment()
            if os.fstat(self._descriptor).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "the spool directory was deleted", str(self._directory))
            self._write(line)
            self._segments[-1].waiting += 1

    def peek(self, limit: int) -> Batch | None:
        with self._lock:
            while self._segments and not self._is_closed:
                segment = self._segments[0]
                is_live = len(self._segments) == 1 and self._descriptor >= 0
                if segment.waiting:
                    batch = self._read(segment, limit)
                    if batch is not None:
                        return batch
                    is_live = False  # deleted or damaged under our hands
                if is_live:
                    return None
                self._drop_oldest()
        return None

    def forget(self, batch: Batch) -> None:
        with self._lock:
            number, offset = batch.end
            if self._is_closed or not self._segments or self._segments[0].number != number:
                return
            segment = self._segments[0]
            segment.waiting -= len(batch.rows)
            segment.offset = offset
            with contextlib.suppress(OSError):  # rows are sent twice then, and the collector knows them again
                if self._position < 0:
                    self._position = os.open(self._directory / "position", _FLAGS | os.O_WRONLY, 0o600)
                os.lseek(self._position, 0, os.SEEK_SET)
                os.write(self._position, f"{number:08d} {offset:012d}\n".encode())

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            is_done = not self.waiting
            self._close_segment()
            if self._position >= 0:
                os.close(self._position)
            if is_done:
                for path in (*self._directory.glob("*.jsonl"), self._directory / "position", self._directory / "lock"):
                    with contextlib.suppress(OSError):  # Windows does not delete the lock while it is open
                        path.unlink()
            release(self._directory, self._lock_file)
            if is_done:
                with contextlib.suppress(OSError):
                    (self._directory / "lock").unlink(missing_ok=True)
                    self._directory.rmdir()

    def trim(self, segments: int) -> int:
        """Drop the oldest segments until at most this many are left; return how many are."""
        with self._lock:
            while len(self._segments) > segments:
                self._drop_oldest()
            return len(self._segments)

    def _next_segment(self) -> None:
        self._close_segment()
        number = self._segments[-1].number + 1 if self._segments else 1
        path = self._path(number)
        self._descriptor = os.open(path, _FLAGS | os.O_WRONLY | os.O_APPEND | os.O_TRUNC, 0o600)
        self._end = 0
        try:
            self._write(self._label)
        except OSError:
            self._close_segment()
            raise
        self._segments.append(_Segment(number, 0))
        while len(self._segments) > SPOOL_SEGMENTS:
            self._drop_oldest()

    def _write(self, data: bytes) -> None:
        written = os.write(self._descriptor, data)
        if written < len(data):
            os.ftruncate(self._descriptor, self._end)
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes fitted", str(self._directory))
        self._end += written

    def _read(self, segment: _Segment, limit: int) -> Batch | None:
        try:
            with self._path(segment.number).open("rb") as file:
                path, _, head = file.readline().decode().rstrip("\n").partition(" ")
                if not (path.startswith("/") and head.endswith("}")):
                    return None
                file.seek(max(segment.offset, file.tell()))
                rows = tuple(_whole_lines(file, min(limit, segment.waiting)))
                return Batch(path, head, rows, (segment.number, file.tell())) if rows else None
        except (OSError, UnicodeDecodeError):
            return None

    def _drop_oldest(self) -> None:
        segment = self._segments.popleft()
        self.dropped += segment.waiting
        if not self._segments:
            self._close_segment()
        with contextlib.suppress(OSError):
            self._path(segment.number).unlink()

    def _close_segment(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:08d}.jsonl"


def home_of(spool: Path, url: str) -> Path:
    """Return the directory that holds the runs meant for one collector: what waits for it goes nowhere else."""
    return spool / quote(url, safe="")


def leftovers(home: Path) -> list[Spool]:
    """Claim the runs whose process is gone, the oldest first, together no more than one spool may hold."""
    found = []
    with contextlib.suppress(OSError):
        for directory in sorted((path for path in home.iterdir() if path.is_dir()), key=_age):
            lock = None
            with contextlib.suppress(OSError):
                lock = claim(directory)
            if lock is not None:
                found.append(Spool(directory, lock, _segments_in(directory)))
    room = SPOOL_SEGMENTS
    for spool in reversed(found):
        room -= spool.trim(room)
    return found


def _age(directory: Path) -> float:
    with contextlib.suppress(OSError):
        return directory.stat().st_mtime
    return 0.0


def _segments_in(directory: Path) -> deque[_Segment]:
    at, start = 0, 0
    with contextlib.suppress(OSError, ValueError):  # without a position all is sent again
        at, start = map(int, (directory / "position").read_text("ascii").split())
    segments: deque[_Segment] = deque()
    for path in sorted(directory.glob("*.jsonl")):
        with contextlib.suppress(OSError, ValueError), path.open("rb") as file:
            number = int(path.stem)
            file.readline()
            offset = max(file.tell(), start if number == at else 0)
            file.seek(offset)
            segments.append(_Segment(number, file.read().count(b"\n"), offset))
    return segments


def _whole_lines(file: IO[bytes], limit: int) -> list[str]:
    return [line[:-1].decode("utf-8", "replace") for line in islice(iter(file.readline, b""), limit) if line[-1] == 10]
