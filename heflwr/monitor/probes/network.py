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

Counters = dict[str, tuple[int, int]]
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

    def open(self) -> str:
        if self._machine.proc is not None:
            path = f"{self._machine.proc}/{self._pid}/net/dev"
            try:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise SourceUnavailable(f"network: cannot read {path} ({error.strerror})") from error
        names = sorted(self._counters())
        if self._only is not None and (absent := sorted(self._only - set(names))):
            self.close()
            raise SourceUnavailable(f"network: no interface {', '.join(absent)}; this host has {', '.join(names)}")
        return f"host, interfaces {', '.join(name for name in names if self._counts(name)) or 'none'}"

    def start(self, now_ns: int) -> None:
        self._last = self._counters()

    def read(self, now_ns: int) -> tuple[float, ...]:
        counters = self._counters()
        sent = received = 0
        for name, (out, into) in counters.items():
            if self._counts(name):
                last_out, last_into = self._last.get(name, (0, 0))
                sent += out - last_out if out >= last_out else out  # a driver that was reset counts from 0 again
                received += into - last_into if into >= last_into else into
        self._last = counters
        return sent, received

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _counts(self, name: str) -> bool:
        if self._only is not None:
            return name in self._only
        return self._loopback or not _is_loopback(name)

    def _counters(self) -> Counters:
        if self._descriptor < 0:
            import psutil

            return {name: (c.bytes_sent, c.bytes_recv) for name, c in psutil.net_io_counters(pernic=True).items()}
        counters: Counters = {}
        for line in os.pread(self._descriptor, 1 << 20, 0).splitlines()[2:]:
            name, _, rest = line.partition(b":")
            fields = rest.split(None, 9)
            counters[name.strip().decode()] = int(fields[8]), int(fields[0])
        return counters


def _is_loopback(name: str) -> bool:
    return name == "lo" or name.startswith(("lo0", "Loopback"))
