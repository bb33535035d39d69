"""One owner a directory, in this process or another: held until it is released or the process ends."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)

_held: dict[tuple[int, str], object] = {}
"""What this process (by id: a fork holds nothing) has claimed: POSIX locks keep only other processes out."""


def claim(directory: Path) -> int | None:
    """Return a descriptor that holds the directory's lock; None where somebody else does. Raises OSError."""
    key = (os.getpid(), str(directory))
    mine = object()
    if _held.setdefault(key, mine) is not mine:
        return None
    descriptor = -1
    try:
        path = directory / "lock"
        descriptor = os.open(path, _FLAGS, 0o600)
        if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except BaseException:
        release(directory, descriptor)
        raise
    release(directory, descriptor)
    return None


def release(directory: Path, descriptor: int) -> None:
    """Give a claim back; -1 for one whose file could not be opened."""
    if descriptor >= 0:
        os.close(descriptor)
    _held.pop((os.getpid(), str(directory)), None)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        with contextlib.suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        return False

else:

    def _lock(descriptor: int) -> bool:
        """Lock until the descriptor is closed or the process ends, whatever children it forked."""
        try:
            import fcntl  # only where there is a spool
        except ImportError as error:  # every such system has it, but to load a library takes a descriptor
            raise OSError(errno.EMFILE, f"cannot lock: {error}") from error
        with contextlib.suppress(BlockingIOError, PermissionError):  # POSIX allows either for "held by another"
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False
