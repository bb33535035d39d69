"""Tables of several processes in one directory: each process has a file to itself, and any of them reads all.

A file belongs to whoever holds its lock, and the kernel lets go of that when a process ends, however it ends. The next
process goes on where a dead one stopped: there are as many files as there ever were processes at a time, and no counter
falls because a worker was replaced.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from heflwr.monitor.wsgi.table import MAGIC, SIZE, Table

SLOTS = 256
"""Processes at a time."""


class Slot:
    """A file that this process holds, and the table in it."""

    def __init__(self, directory: Path) -> None:
        """Take the first file that no living process has.

        Raises:
            OSError: There is none, or no space for one.
        """
        for number in range(SLOTS):
            descriptor = os.open(directory / f"requests-{number}.figures", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                table = _take(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            if table is not None:
                self.table = table
                self._closing = weakref.finalize(self, os.close, descriptor)
                self._closing.atexit = False  # the kernel does it then
                return
            os.close(descriptor)
        raise OSError(f"{directory} has {SLOTS} files that are in use or not ours")

    def close(self) -> None:
        """Leave the file to the next process. What a fork inherited must be closed there, too."""
        self._closing()


def tables(directory: Path) -> Iterator[Table]:
    """Yield the tables of all processes, living and dead, as they are now."""
    for path in sorted(directory.glob("requests-*.figures")):
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
    if os.fstat(descriptor).st_size == 0:
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
