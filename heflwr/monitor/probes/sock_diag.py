"""The kernel's socket diagnostics (sock_diag(7)): every TCP socket of the network namespace with its byte counts.

This file knows the wire format and nothing of processes. No privilege is needed.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

_ANSWER_SECONDS = 1.0
"""An answer takes microseconds; a kernel that gives none must not hang us."""

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


class TcpSocket(NamedTuple):
    """One TCP socket at one moment.

    Attributes:
        cookie: Its identity, which no other socket ever gets.
        inode: By which its holders name it; 0 when nobody holds it any more.
        sent: Payload bytes written by the process; acknowledged by the peer on kernels before 4.19.
        received: Payload bytes received, one more for the end of the stream.
        is_local: Its packets never leave the host.
    """

    cookie: int
    inode: int
    sent: int
    received: int
    is_local: bool


class SocketDiagnostics:
    """Asks the kernel for all TCP sockets, and hears of each one's end."""

    def __init__(self) -> None:
        self._dumps: socket.socket | None = None
        self._notices: socket.socket | None = None
        self._sequence = 0

    @property
    def hears_ends(self) -> bool:
        """True where the kernel tells of sockets that end (Linux 4.2)."""
        return self._notices is not None

    def open(self) -> None:
        """Open both netlink sockets and try the first. Raises OSError, and leaves nothing open, where it is refused."""
        try:
            self._dumps = _netlink()
            self._dumps.settimeout(_ANSWER_SECONDS)
            for _ in self.sockets():
                pass
            with socket.socket() as probe:
                if len(probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)) < _ACKED_RECEIVED.size:
                    raise OSError(errno.ENOSYS, "TCP_INFO has no byte counts before Linux 4.1")
        except OSError:
            self.close()
            raise
        self._notices = _subscribe()

    def close(self) -> None:
        """Close both."""
        for netlink in (self._dumps, self._notices):
            if netlink is not None:
                netlink.close()
        self._dumps = self._notices = None

    def sockets(self) -> Iterator[TcpSocket]:
        """Yield every TCP socket of the namespace that can carry bytes. Raises OSError when the kernel refuses."""
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
                    elif (found := _parse(message)) is not None:
                        yield found

    def ends(self, awaited: set[int], seconds: float) -> Iterator[TcpSocket | None]:
        """Yield every socket that has ended, with its last counts, and None where the kernel had to leave some out.

        Args:
            awaited: Cookies of sockets to wait for; those that come are taken out.
            seconds: Longest to wait for them; what has been told already comes in any case.
        """
        if self._notices is None:
            yield None
            return
        until = time.monotonic() + seconds
        while True:
            self._notices.settimeout(max(0.0, until - time.monotonic()) if awaited else 0.0)
            try:
                data = self._notices.recv(1 << 16)
            except (BlockingIOError, TimeoutError):
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None  # more ended than the buffer holds
                continue
            for _, _, message in _messages(data):
                if (found := _parse(message)) is not None:
                    awaited.discard(found.cookie)
                    yield found


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def _subscribe() -> socket.socket | None:
    """Ask to be told of every TCP socket's end; None where the kernel does not tell (before 4.2)."""
    notices = _netlink()
    try:
        notices.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        notices.bind((0, _DESTROYED))
    except OSError:
        notices.close()
        return None
    return notices


def _parse(message: memoryview) -> TcpSocket | None:
    family, state, source, destination, cookie, inode = _MESSAGE.unpack_from(message)
    at = _MESSAGE.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _INET_DIAG_INFO:
            sent, received = _ACKED_RECEIVED.unpack_from(message, at + _ATTRIBUTE.size)
            if length >= _ATTRIBUTE.size + _UNSENT_SENT_AGAIN.size:
                unsent, all_sent, again = _UNSENT_SENT_AGAIN.unpack_from(message, at + _ATTRIBUTE.size)
                sent = all_sent - again + max(0, unsent - (state in _CLOSED_HERE))
            return TcpSocket(cookie, inode, sent, received, _is_local(family, source, destination))
        at += max(_ATTRIBUTE.size, length + 3 & ~3)
    return None


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
