"""Tables of several processes in one directory: each process has a file to itself, and any of them reads all.

A file belongs to whoever holds its lock, and the kernel lets go of that when a process ends, however it ends. The next
process goes on where a dead one stopped: there are as many files as there ever were processes at a time, and no counter
falls because a worker was replaced.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from heflwr.monitor.wsgi.table import MAGIC, SIZE, Table

SLOTS = 256
"""Processes at a time."""


class Slot:
    """A file that this process holds for as long as the table in it is open."""

    def __init__(self, directory: Path) -> None:
        """Take the first file that no living process has.

        Raises:
            OSError: There is none, or no space for one.
        """
        for number in range(SLOTS):
            self._path = directory / f"requests-{number}.figures"
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            except PermissionError:
                if self._path.exists():
                    continue  # another user's
                raise
            try:
                table = _take(descriptor)
                self._file = os.fstat(descriptor)
            finally:
                os.close(descriptor)  # the mapping has a duplicate, and with it the lock
            if table is not None:
                self.table = table
                return
        raise OSError(f"{directory} has {SLOTS} files that are in use or not ours")

    def check(self) -> None:
        """Raise OSError where the file is not the one in the directory any more: what is counted, nobody reads."""
        try:
            is_there = os.path.samestat(self._path.stat(), self._file)
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise OSError(f"{self._path} was removed while a process counted in it; restart the service")


def files(directory: Path) -> list[Path]:
    """Return what there may be of tables."""
    return sorted(directory.glob("requests-*.figures"))


def tables(directory: Path) -> Iterator[Table]:
    """Yield the tables of all processes, living and dead, as they are now."""
    for path in files(directory):
        data = path.read_bytes()
        if len(data) == SIZE and data.startswith(MAGIC):
            with suppress(ValueError):  # damaged: nobody takes it, and the others still tell
                yield Table(data)


def _take(descriptor: int) -> Table | None:
    """Return the table in a file, None where somebody else has it or it is not one."""
    import fcntl  # only where there is a directory, which the constructor refuses without it

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    if os.fstat(descriptor).st_size < SIZE and not os.pread(descriptor, len(MAGIC), 0).strip(b"\0"):
        if hasattr(os, "posix_fallocate"):  # a store to a page that has no space on disk would kill the process
            os.posix_fallocate(descriptor, 0, SIZE)
        else:
            os.ftruncate(descriptor, SIZE)
    if os.fstat(descriptor).st_size != SIZE:
        return None
    buffer = mmap.mmap(descriptor, SIZE)
    if buffer[: len(MAGIC)] not in (MAGIC, bytes(len(MAGIC))):
        return None
    buffer[: len(MAGIC)] = MAGIC
    try:
        table = Table(buffer)
    except ValueError:
        return None
    table.forget_peaks()
    return table
