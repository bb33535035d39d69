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
    """An outbox on disk. `begin` makes one for a new run, `Leftovers` finds those of runs whose process is gone."""

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
        """See Outbox. Raises OSError where a segment that is there cannot be read now; it stays."""
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
                with contextlib.suppress(OSError):  # no descriptor to list it: the next run deletes what is left
                    for path in _files_in(self._directory):
                        path.unlink(missing_ok=True)
                    (self._directory / "position").unlink(missing_ok=True)
                    (self._directory / "lock").unlink(missing_ok=True)  # Windows does not, while it is open
            release(self._directory, self._lock_file)
            if is_done:
                with contextlib.suppress(OSError):
                    (self._directory / "lock").unlink(missing_ok=True)
                    self._directory.rmdir()

    def trim(self, segments: int) -> None:
        """Drop the oldest segments until at most this many are left."""
        with self._lock:
            while len(self._segments) > segments:
                self._drop_oldest()

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
        """Return rows of a segment, None where it is deleted or damaged. Raises OSError where only now is no time."""
        try:
            with self._path(segment.number).open("rb") as file:
                path, _, head = file.readline().decode().rstrip("\n").partition(" ")
                if not (path.startswith("/") and head.endswith("}")):
                    return None
                file.seek(max(segment.offset, file.tell()))
                rows = tuple(_whole_lines(file, min(limit, segment.waiting)))
                return Batch(path, head, rows, (segment.number, file.tell())) if rows else None
        except (FileNotFoundError, UnicodeDecodeError):
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


class Leftovers:
    """Runs whose process is gone, the oldest first, together no more than one spool may hold.

    They are claimed one by one, since each holds a descriptor and a client that crashed often left hundreds.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._rest: deque[tuple[Path, int]] | None = None  # each with the segments it may keep; None before a look

    def claim_next(self) -> Spool | None:
        """Return one more, None where there is none.

        Raises:
            OSError: It cannot be had now. Nothing is lost, and a later call tries again.
        """
        if self._rest is None:
            self._rest = _look(self._home)
        while self._rest:
            directory, keep = self._rest.popleft()
            try:
                spool = _claimed(directory)
            except OSError:
                self._rest.append((directory, keep))  # behind the others: it may never be had
                raise
            if spool is not None:
                spool.trim(keep)
                return spool
        return None


def _look(home: Path) -> deque[tuple[Path, int]]:
    """Return the runs that nobody holds, the oldest first, and how many segments of each may stay."""
    found: deque[tuple[Path, int]] = deque()
    room = SPOOL_SEGMENTS
    with contextlib.suppress(FileNotFoundError):
        for directory in sorted((path for path in home.iterdir() if path.is_dir()), key=_age, reverse=True):
            try:
                segments = _count(directory)
            except OSError:
                found.appendleft((directory, SPOOL_SEGMENTS))  # what cannot be counted is not cut short
                continue
            if segments is not None:
                found.appendleft((directory, min(room, segments)))
                room -= min(room, segments)
    return found


def _count(directory: Path) -> int | None:
    """Return a run's segments, None where somebody holds it. Raises OSError."""
    lock = claim(directory)
    if lock is None:
        return None
    try:
        return len(_files_in(directory))
    finally:
        release(directory, lock)


def _claimed(directory: Path) -> Spool | None:
    """Return a run's spool, None where somebody holds it or it is gone. Raises OSError where it cannot be read now."""
    try:
        lock = claim(directory)
    except FileNotFoundError:
        return None
    if lock is None:
        return None
    try:
        return Spool(directory, lock, _segments_in(directory))
    except BaseException:
        release(directory, lock)
        raise


def _age(directory: Path) -> float:
    with contextlib.suppress(OSError):
        return directory.stat().st_mtime
    return 0.0


def _files_in(directory: Path) -> list[Path]:
    """Return a run's segments in order. Raises OSError, which Path.glob may keep to itself."""
    return sorted(path for path in directory.iterdir() if path.suffix == ".jsonl")


def _segments_in(directory: Path) -> deque[_Segment]:
    """Return what waits in a run's directory. Raises OSError where it cannot be read now."""
    at, start = 0, 0
    with contextlib.suppress(FileNotFoundError, ValueError):  # without a position all is sent again
        at, start = map(int, (directory / "position").read_text("ascii").split())
    segments: deque[_Segment] = deque()
    for path in _files_in(directory):
        with contextlib.suppress(FileNotFoundError, ValueError), path.open("rb") as file:
            number = int(path.stem)
            file.readline()
            offset = max(file.tell(), start if number == at else 0)
            file.seek(offset)
            segments.append(_Segment(number, file.read().count(b"\n"), offset))
    return segments


def _whole_lines(file: IO[bytes], limit: int) -> list[str]:
    return [line[:-1].decode("utf-8", "replace") for line in islice(iter(file.readline, b""), limit) if line[-1] == 10]
