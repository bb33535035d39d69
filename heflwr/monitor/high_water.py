"""The highest resident memory of this process during a stay: a request of a web service, a call of a Flower client.

The kernel keeps one peak a process (VmHWM in proc(5)), which can be set back. Whenever a stay begins, what the peak was
since the last time is noted for all that are on, and it is set back: so each knows the highest of its whole time,
however they overlap. Whose memory it was cannot be told where they do; only a stay that was alone from its
beginning to its end knows by how much memory rose for it.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Stay:
    """One that is on.

    Attributes:
        peak_bytes: Highest so far, as far as it was noted.
        is_alone: No other has been on since it began.
    """

    __slots__ = ("__weakref__", "begun_bytes", "is_alone", "peak_bytes")

    def __init__(self, resident_bytes: int, *, is_alone: bool) -> None:
        self.begun_bytes = self.peak_bytes = resident_bytes
        self.is_alone = is_alone


class HighWater:
    """Peaks of overlapping stays in one process; from any thread."""

    def __init__(self, proc: Path = PROC) -> None:
        """Open the kernel's files, for good: opening them for each stay would cost more than reading them.

        Raises:
            OSError: Not Linux, or the peak may not be set back here.
        """
        self._lock = threading.RLock()  # a request that nobody closed may end by garbage collection, within this
        self._stays: weakref.WeakSet[Stay] = weakref.WeakSet()  # one that nobody ends is over when nobody holds it
        self._files: list[_File] = []
        weakref.finalize(self, _close, self._files).atexit = False
        for name, flags in (("status", os.O_RDONLY), ("clear_refs", os.O_WRONLY)):
            self._files.append(_File.opened(proc / "self" / name, flags))
        self._read()
        self._set_back()

    def enter(self) -> Stay:
        """A stay begins. Raises OSError where the kernel does not answer."""
        with self._lock:
            peak, resident = self._read()
            self._set_back()
            for other in tuple(self._stays):
                other.peak_bytes = max(other.peak_bytes, peak)
                other.is_alone = False
            stay = Stay(resident, is_alone=not self._stays)
            self._stays.add(stay)
            return stay

    def leave(self, stay: Stay) -> tuple[int, int | None]:
        """A stay ends: return its peak, and by how much memory rose if it was alone. Raises OSError as enter()."""
        with self._lock:
            self._stays.discard(stay)
            peak = max(stay.peak_bytes, self._read()[0])
            return peak, peak - stay.begun_bytes if stay.is_alone else None

    def _read(self) -> tuple[int, int]:
        """Return the peak since it was set back, and what is resident now."""
        status = os.pread(self._files[0].descriptor, 4096, 0)
        return _field(status, b"VmHWM:"), _field(status, b"VmRSS:")

    def _set_back(self) -> None:
        self._files[1].check()  # who closes all descriptors may have a file of its own under this number
        os.pwrite(self._files[1].descriptor, b"5", 0)


class _File(NamedTuple):
    """A file of the kernel's that is kept open."""

    descriptor: int
    identity: tuple[int, int]

    @classmethod
    def opened(cls, path: Path, flags: int) -> _File:
        descriptor = os.open(path, flags)
        return cls(descriptor, _identity(descriptor))

    def check(self) -> None:
        """Raise OSError unless the descriptor is still this file's."""
        if _identity(self.descriptor) != self.identity:
            raise OSError("somebody else has the descriptor")


def _identity(descriptor: int) -> tuple[int, int]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino


_shared: dict[int, HighWater] = {}
"""By pid, so that a fork opens its own: the parent's files tell of the parent."""

_is_watching_forks = False


def high_water() -> HighWater:
    """Return the one of this process: two would set the peak back without the other's knowing. Raises OSError."""
    global _is_watching_forks
    if not _is_watching_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_shared.clear)  # closes the parent's files, while they are still ours
    _is_watching_forks = True
    pid = os.getpid()
    return _shared.get(pid) or _shared.setdefault(pid, HighWater())  # no lock, which a fork could inherit held


def _close(files: list[_File]) -> None:
    for file in files:
        with suppress(OSError):
            file.check()
            os.close(file.descriptor)


def _field(status: bytes, name: bytes) -> int:
    """Return a field of /proc/PID/status in bytes. Raises OSError where it is not there."""
    _, found, rest = status.partition(name)
    if not found:
        raise OSError(f"/proc/self/status has no {name.decode()}")
    return int(rest.split(None, 1)[0]) * 1024
