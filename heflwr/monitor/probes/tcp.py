"""Bytes of the process tree's own TCP connections, without root: the kernel's socket diagnostics, matched by inode.

A dump of the network namespace's TCP sockets (sock_diag(7)) carries each one's `tcp_info`; /proc/PID/fd says which
sockets a process holds. A socket is known by its cookie, which no other socket ever gets: what it had carried before
start() is its baseline, one that several processes share counts once, and one that nobody holds any more is followed
to its end. The kernel also tells of every socket's end with its last counts, to any user: nothing of a connection
that was seen once is lost.

What is not seen: a connection that begins and ends between two looks, UDP (QUIC too), and raw sockets.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.sock_diag import SocketDiagnostics, TcpSocket
from heflwr.monitor.probes.tree import SCAN_SECONDS, Tree

_REST_NS = int(SCAN_SECONDS * 0.9e9)
"""Longest rest between two looks while ticks go on; a little less than SCAN_SECONDS, for ticks that come early."""

_SHARE = 100
"""Looks more often than that may take one part in so many of the time."""

_NOTICE_SECONDS = 0.01
"""Longest wait for the last counts of a connection that has just closed: they come from a kernel work queue."""


@dataclass(slots=True)
class _Connection:
    """A socket that belongs, or belonged, to the tree.

    Attributes:
        inode: By which its holders name it.
        sent: Bytes accounted for.
        received: Likewise.
        is_awaited: Its end was waited for once already.
    """

    inode: int
    sent: int
    received: int
    is_awaited: bool = False


class ProcessNetworkProbe:
    """Fills network_bytes_sent and network_bytes_recv with the process tree's own TCP traffic.

    Bytes are TCP payload, each counted once: no headers, no retransmissions. Sent means written by the process
    (tcpi_bytes_sent - tcpi_bytes_retrans + tcpi_notsent_bytes), or acknowledged by the peer on kernels before 4.19.
    The end of a stream counts as one byte received.
    """

    group = "network"

    def __init__(self, machine: Machine, tree: Tree, loopback: bool) -> None:
        self._machine = machine
        self._tree = tree
        self._loopback = loopback
        self._diagnostics = SocketDiagnostics()

    def open(self) -> str:
        proc, pid = self._machine.proc, self._tree.pids()[0]
        if proc is None or not hasattr(socket, "AF_NETLINK"):
            raise SourceUnavailable("network='process' needs Linux (sock_diag); use network='host' here")
        try:
            os.listdir(f"{proc}/{pid}/fd")
            if os.stat(f"{proc}/{pid}/ns/net").st_ino != os.stat(f"{proc}/self/ns/net").st_ino:
                raise SourceUnavailable(
                    f"network='process': process {pid} lives in another network namespace, whose sockets cannot be seen"
                    " from here; monitor from inside it, or use network='host'"
                )
        except OSError as error:
            raise SourceUnavailable(
                f"network='process': cannot look at the sockets of process {pid} ({error}); run as its user, or use "
                "network='host'"
            ) from error
        try:
            self._diagnostics.open()
        except OSError as error:
            raise SourceUnavailable(
                f"network='process': this kernel refuses sock_diag ({error}); use network='host'"
            ) from error
        source = "TCP sockets of the process tree (sock_diag)"
        return source if self._diagnostics.hears_ends else f"{source}, without the ends of closed ones"

    def start(self, now_ns: int) -> None:
        self._own: dict[int, _Connection] = {}
        self._sent = self._received = 0
        held = self._held()
        self._before: dict[int, tuple[int, int]] = {}
        for found in self._sockets():
            self._before[found.cookie] = found.sent, found.received
            if found.inode in held:
                self._own[found.cookie] = _Connection(found.inode, found.sent, found.received)
        self._looks = self._tree.looks
        self._next_ns = now_ns

    def read(self, now_ns: int) -> tuple[float, ...]:
        if now_ns >= self._next_ns or self._tree.looks != self._looks:
            self._looks = self._tree.looks
            began_ns = time.monotonic_ns()
            self._look()
            self._next_ns = now_ns + min(_REST_NS, _SHARE * (time.monotonic_ns() - began_ns))
        sent, self._sent = self._sent, 0
        received, self._received = self._received, 0
        return sent, received

    def close(self) -> None:
        self._diagnostics.close()

    def _look(self) -> None:
        """Account for everything up to now: holders, then sockets, then ends; what closes meanwhile is heard of."""
        held = self._held()
        seen = set()
        for found in self._sockets():
            connection = self._own.get(found.cookie)
            if connection is None:
                if found.inode not in held:
                    continue
                before = self._before.get(found.cookie, (0, 0))
                connection = self._own[found.cookie] = _Connection(found.inode, *before)
            seen.add(found.cookie)
            # A process outside the tree that alone holds a socket now pays for it; nobody holds one that is closing.
            self._account(connection, found, is_ours=found.inode in held or found.inode == 0)
        unseen = self._own.keys() - seen
        is_complete = self._hear(unseen, held)
        if not is_complete:  # the ends of these will not be told, or have been missed
            for cookie in unseen & self._own.keys():
                del self._own[cookie]

    def _account(self, connection: _Connection, now: TcpSocket, *, is_ours: bool) -> None:
        if is_ours:
            self._sent += max(0, now.sent - connection.sent)  # falls when it is reset with bytes unsent
            self._received += max(0, now.received - connection.received)
        connection.sent, connection.received = now.sent, now.received

    def _held(self) -> set[int]:
        """Return the inodes of all sockets that the tree holds."""
        inodes = set()
        for pid in self._tree.pids():
            folder = f"{self._machine.proc}/{pid}/fd"
            try:
                names = os.listdir(folder)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # ended, or another user's: not ours to look at
            for name in names:
                with suppress(FileNotFoundError, ProcessLookupError):  # closed meanwhile
                    target = os.readlink(f"{folder}/{name}")
                    if target.startswith("socket:["):
                        inodes.add(int(target[8:-1]))
        return inodes

    def _sockets(self) -> Iterator[TcpSocket]:
        return (found for found in self._diagnostics.sockets() if self._loopback or not found.is_local)

    def _hear(self, unseen: set[int], held: set[int]) -> bool:
        """Account for the ends told since the last look; return False if some may have been missed."""
        awaited = {cookie for cookie in unseen if not (self._own[cookie].is_awaited or self._own[cookie].inode in held)}
        for cookie in awaited:
            self._own[cookie].is_awaited = True
        is_complete = True
        for found in self._diagnostics.ends(awaited, _NOTICE_SECONDS):
            if found is None:
                is_complete = False
                continue
            self._before.pop(found.cookie, None)
            if (connection := self._own.pop(found.cookie, None)) is not None:
                self._account(connection, found, is_ours=True)
        return is_complete
