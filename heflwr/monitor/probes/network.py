"""Bytes that the host sent and received, by interface counters.

What counts: every interface of the watched process's network namespace but loopback, unless the user names interfaces.
A bridge, a tunnel or a container's veth carries bytes that the physical interface below it counts again; name
`interfaces=["eth0"]` where that matters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.machine import Machine

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
"""What one read of /proc/net/dev returns at most, in whole lines."""

_LINE_BYTES = 512
"""More than a line of it: a name of 15 characters and 16 numbers of up to 20 digits."""

Counters = dict[bytes | str, tuple[int, int]]
"""Bytes sent and received since boot, an interface a key."""


class HostNetworkProbe:
    """Fills network_bytes_sent and network_bytes_recv with the host's traffic."""

    group = "network"

    def __init__(self, machine: Machine, pid: int, interfaces: Sequence[str] | None, loopback: bool) -> None:
        self._machine = machine
        self._pid = pid
        self._only = frozenset(interfaces) if interfaces is not None else None
        self._loopback = loopback
        self._descriptor = -1
        self._is_counted: dict[bytes, bool] = {}
        self._raw = b""
        self._last: Counters = {}

    def open(self) -> str:
        if self._machine.proc is not None:
            path = f"{self._machine.proc}/{self._pid}/net/dev"
            try:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise SourceUnavailable(f"network: cannot read {path} ({error.strerror})") from error
        names = self._names()
        if self._only is not None and (absent := sorted(self._only - set(names))):
            self.close()
            raise SourceUnavailable(f"network: no interface {', '.join(absent)}; this host has {', '.join(names)}")
        return f"host, interfaces {', '.join(name for name in names if self._counts(name)) or 'none'}"

    def start(self, now_ns: int) -> None:
        self._last = self._counters()

    def read(self, now_ns: int) -> tuple[float, ...]:
        counters = self._counters()
        if counters is self._last:
            return 0, 0
        sent = received = 0
        for name, (out, into) in counters.items():
            last_out, last_into = self._last.get(name, (0, 0))
            sent += out - last_out if out >= last_out else out  # a driver that was reset counts from 0 again
            received += into - last_into if into >= last_into else into
        # The pages of a long list are not one snapshot: who is missing may be back next time, and goes on from here.
        self._last = {**self._last, **counters}
        return sent, received

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _names(self) -> list[str]:
        if self._descriptor < 0:
            import psutil

            return sorted(psutil.net_io_counters(pernic=True))
        return sorted(line.partition(b":")[0].strip().decode() for line in self._read_raw().split(b"\n")[2:-1])

    def _counts(self, name: str) -> bool:
        if self._only is not None:
            return name in self._only
        return self._loopback or not _is_loopback(name)

    def _counters(self) -> Counters:
        """Return the counters of the interfaces that count; the same object while nothing moved."""
        if self._descriptor < 0:
            import psutil

            every = psutil.net_io_counters(pernic=True)
            return {name: (c.bytes_sent, c.bytes_recv) for name, c in every.items() if self._counts(name)}
        raw = self._read_raw()
        if raw == self._raw:
            return self._last
        counters: Counters = {}
        for line in raw.split(b"\n")[2:-1]:
            name, _, rest = line.partition(b":")
            is_counted = self._is_counted.get(name)
            if is_counted is None:
                is_counted = self._is_counted[name] = self._counts(name.strip().decode())
            if is_counted:
                fields = rest.split(None, 9)
                counters[name] = int(fields[8]), int(fields[0])
        self._raw = raw  # not before: what could not be understood is looked at again
        return counters

    def _read_raw(self) -> bytes:
        raw = piece = os.pread(self._descriptor, _PAGE_BYTES, 0)
        # Some 30 interfaces fill a page, and the kernel gives no more at once. A read that begins where the last one
        # ended goes on with the next interface, not at that byte of a new text (fs/seq_file.c): no line is cut.
        while len(piece) > _PAGE_BYTES - _LINE_BYTES:
            piece = os.pread(self._descriptor, _PAGE_BYTES, len(raw))
            raw += piece
        return raw


def _is_loopback(name: str) -> bool:
    return name == "lo" or name.startswith(("lo0", "Loopback"))
