"""Bytes of the process tree's own TCP connections, without root: the kernel's socket diagnostics, matched by inode.

A dump of the network namespace's TCP sockets (sock_diag(7)) carries each one's `tcp_info`; /proc/PID/fd says which
sockets a process holds. A socket is known by its cookie, which no other socket ever gets: what it had carried before
start() is its baseline, one that several processes share counts once, and one that nobody holds any more is followed
to its end. The kernel also tells of every socket's end with its last counts, to any user: nothing of a connection
that was seen once is lost.

What is not seen: a connection that begins and ends between two looks, UDP (QUIC too), and raw sockets.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from heflwr.monitor.errors import SourceUnavailable
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.tree import SCAN_SECONDS, Tree

_REST_NS = int(SCAN_SECONDS * 0.9e9)
"""Longest rest between two looks while ticks go on; a little less than SCAN_SECONDS, for ticks that come early."""

_SHARE = 100
"""Looks more often than that may take one part in so many of the time."""

_NOTICE_SECONDS = 0.01
"""Longest wait for the last counts of a connection that has just closed: they come from a kernel work queue."""

_BUFFER_BYTES = 1 << 20
"""Asked of the kernel for notices of ended sockets between two looks (it gives its net.core.rmem_max at most)."""

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h; Python's socket module has none of these.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_DESTROYED = 1 << 0 | 1 << 2  # groups SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY
_INET_DIAG_INFO = 2
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBBBI48x")  # inet_diag_req_v2: family, protocol, extensions, padding, states, socket id
_MESSAGE = struct.Struct("=BBxx4x16s16s4xQ16xI")  # inet_diag_msg: family, state, source, destination, cookie, inode
_ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
_ACKED_RECEIVED = struct.Struct("=120xQQ")  # tcp_info: tcpi_bytes_acked, tcpi_bytes_received (Linux 4.1)
_UNSENT_SENT_AGAIN = struct.Struct("=144xI52xQQ")  # and tcpi_notsent_bytes, tcpi_bytes_sent, tcpi_bytes_retrans (4.19)
_CLOSED_HERE = frozenset((4, 9, 11))  # FIN_WAIT1, LAST_ACK, CLOSING: the end of the stream waits behind unsent bytes
_STATES = sum(1 << state for state in (1, 2, 3, 4, 5, 8, 9, 11))  # all but TIME_WAIT, CLOSE and LISTEN: they carry none


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
        self._dumps: socket.socket | None = None
        self._notices: socket.socket | None = None
        self._sequence = 0

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
            self._dumps = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
            self._dumps.settimeout(1.0)  # an answer takes microseconds; a kernel that gives none must not hang us
            for _ in self._sockets():
                pass
            with socket.socket() as probe:
                info = len(probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512))
        except OSError as error:
            self.close()
            raise SourceUnavailable(
                f"network='process': this kernel refuses sock_diag ({error}); use network='host'"
            ) from error
        if info < _ACKED_RECEIVED.size:
            self.close()
            raise SourceUnavailable("network='process' needs Linux 4.1 (bytes in TCP_INFO); use network='host'")
        self._notices = self._listen()
        source = "TCP sockets of the process tree (sock_diag)"
        return source if self._notices else f"{source}, without the ends of closed ones"

    def start(self, now_ns: int) -> None:
        self._own: dict[int, _Connection] = {}
        self._sent = self._received = 0
        held = self._held()
        self._before: dict[int, tuple[int, int]] = {}
        for cookie, inode, sent, received in self._sockets():
            self._before[cookie] = sent, received
            if inode in held:
                self._own[cookie] = _Connection(inode, sent, received)
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
        for netlink in (self._dumps, self._notices):
            if netlink is not None:
                netlink.close()
        self._dumps = self._notices = None

    def _look(self) -> None:
        """Account for everything up to now: holders, then sockets, then ends; what closes meanwhile is heard of."""
        held = self._held()
        seen = set()
        for cookie, inode, sent, received in self._sockets():
            connection = self._own.get(cookie)
            if connection is None:
                if inode not in held:
                    continue
                connection = self._own[cookie] = _Connection(inode, *self._before.get(cookie, (0, 0)))
            seen.add(cookie)
            # A process outside the tree that alone holds a socket now pays for it; nobody holds one that is closing.
            self._account(connection, sent, received, is_ours=inode in held or inode == 0)
        unseen = self._own.keys() - seen
        is_complete = self._hear(unseen, held)
        if not is_complete:  # the ends of these will not be told, or have been missed
            for cookie in unseen & self._own.keys():
                del self._own[cookie]

    def _account(self, connection: _Connection, sent: int, received: int, *, is_ours: bool) -> None:
        if is_ours:
            self._sent += max(0, sent - connection.sent)  # falls when it is reset with bytes unsent
            self._received += max(0, received - connection.received)
        connection.sent, connection.received = sent, received

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

    def _sockets(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield cookie, inode (0: no holder), bytes sent and received of every TCP socket of the namespace."""
        assert self._dumps is not None
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, _STATES)
            self._sequence += 1
            flags = _NLM_F_REQUEST | _NLM_F_DUMP
            head = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, flags, self._sequence, 0)
            self._dumps.send(head + body)
            is_done = False
            while not is_done:
                for kind, sequence, message in _messages(self._dumps.recv(1 << 16)):
                    if sequence != self._sequence:  # the rest of an answer that an error cut short
                        continue
                    if kind == _NLMSG_ERROR and (code := -struct.unpack_from("=i", message)[0]):
                        raise OSError(code, os.strerror(code))
                    if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                        is_done = True
                    elif (found := self._parse(message)) is not None:
                        yield found

    def _parse(self, message: memoryview) -> tuple[int, int, int, int] | None:
        family, state, source, destination, cookie, inode = _MESSAGE.unpack_from(message)
        if not self._loopback and _is_local(family, source, destination):
            return None
        at = _MESSAGE.size
        while at + _ATTRIBUTE.size <= len(message):
            length, kind = _ATTRIBUTE.unpack_from(message, at)
            if kind == _INET_DIAG_INFO:
                sent, received = _ACKED_RECEIVED.unpack_from(message, at + _ATTRIBUTE.size)
                if length >= _ATTRIBUTE.size + _UNSENT_SENT_AGAIN.size:
                    unsent, all_sent, again = _UNSENT_SENT_AGAIN.unpack_from(message, at + _ATTRIBUTE.size)
                    sent = all_sent - again + max(0, unsent - (state in _CLOSED_HERE))
                return cookie, inode, sent, received
            at += max(_ATTRIBUTE.size, length + 3 & ~3)
        return None

    def _listen(self) -> socket.socket | None:
        """Ask to be told of every TCP socket's end; None where the kernel does not tell (before 4.2)."""
        notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
        try:
            notices.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            notices.bind((0, _DESTROYED))
        except OSError:
            notices.close()
            return None
        return notices

    def _hear(self, unseen: set[int], held: set[int]) -> bool:
        """Account for the ends told since the last look; return False if some may have been missed."""
        if self._notices is None:
            return False
        is_complete = True
        awaited = {cookie for cookie in unseen if not (self._own[cookie].is_awaited or self._own[cookie].inode in held)}
        for cookie in awaited:
            self._own[cookie].is_awaited = True
        until = time.monotonic() + _NOTICE_SECONDS
        while True:
            self._notices.settimeout(max(0.0, until - time.monotonic()) if awaited else 0.0)
            try:
                data = self._notices.recv(1 << 16)
            except (BlockingIOError, TimeoutError):
                return is_complete
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                is_complete = False  # more ended than the buffer holds
                continue
            for _, _, message in _messages(data):
                found = self._parse(message)
                if found is None:
                    continue
                cookie, _, sent, received = found
                awaited.discard(cookie)
                self._before.pop(cookie, None)
                if (connection := self._own.pop(cookie, None)) is not None:
                    self._account(connection, sent, received, is_ours=True)


def _messages(data: bytes) -> Iterator[tuple[int, int, memoryview]]:
    """Yield type, sequence number and body of each netlink message (netlink(7))."""
    view, at = memoryview(data), 0
    while at + _HEADER.size <= len(view):
        length, kind, _, sequence, _ = _HEADER.unpack_from(view, at)
        yield kind, sequence, view[at + _HEADER.size : at + length]
        at += max(_HEADER.size, length + 3 & ~3)


def _is_local(family: int, source: bytes, destination: bytes) -> bool:
    """True if the packets never leave the host: 127/8, ::1, the same in IPv4-mapped form, or to its own address."""
    if source == destination:
        return True
    if family == socket.AF_INET:
        return source[0] == 127 or destination[0] == 127
    return any(address[:12] == _MAPPED and address[12] == 127 for address in (source, destination))


_MAPPED = b"\0" * 10 + b"\xff\xff"
