"""The socket that many functions of many agents arrive at: a ROUTER, with CURVE or without.

It starts no thread and waits for no longer than it is told. What cannot be sent now is dropped, and said so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import zmq

from heflwr.automon.transports.zeromq.curve import DOMAIN, Gatekeeper, KeyPair
from heflwr.automon.transports.zeromq.handshake import (
    HANDSHAKE_EVENTS,
    IDLE_SECONDS,
    LINGER_MILLISECONDS,
    Handshake,
    handshakes,
)

HANDSHAKE_SECONDS = 5.0
"""A connection that has not said who it is by then is closed."""

BACKLOG = 1024
"""Connections that may wait: a whole fleet comes back at once when its coordinator does."""


class Arrival(NamedTuple):
    """A message that came to a listener."""

    address: bytes
    name: str
    """Whom the key belongs to that the connection was made with; "" without keys."""
    data: bytes


class Listener:
    """Takes connections from anybody, or with `keys` from those whose public key has a name.

    Args:
        address: Where to listen, such as "tcp://127.0.0.1:7100"; port * takes a free one.
        most_bytes: Longer messages end their connection.
        keys: Of the listener; None: neither encryption nor names.
        name_of: From a public key to a name; None: not let in. With `keys` only.
    """

    def __init__(
        self,
        address: str,
        most_bytes: int,
        keys: KeyPair | None = None,
        name_of: Callable[[str], str | None] = lambda key: None,
    ) -> None:
        self._listen_on, self._most_bytes, self._keys, self._name_of = address, most_bytes, keys, name_of
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._gatekeeper: Gatekeeper | None = None
        self.refused_handshakes = 0
        """Connections that had no key, another server's, or were none of ZeroMQ."""

    def open(self) -> None:
        """Listen.

        Raises:
            OSError: Nobody can listen there.
        """
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        socket = context.socket(zmq.ROUTER)
        gatekeeper = None
        events: zmq.Socket[bytes] | None = None
        try:
            socket.set(zmq.LINGER, LINGER_MILLISECONDS)
            socket.set(zmq.IPV6, "[" in self._listen_on)
            socket.set(zmq.MAXMSGSIZE, self._most_bytes)
            socket.set(zmq.ROUTER_MANDATORY, 1)  # say so when a peer is not there
            socket.set(zmq.ROUTER_HANDOVER, 1)  # a peer may be back before its old connection is seen to be dead
            socket.set(zmq.HEARTBEAT_IVL, int(1000 * IDLE_SECONDS))
            socket.set(zmq.HANDSHAKE_IVL, int(1000 * HANDSHAKE_SECONDS))
            socket.set(zmq.BACKLOG, BACKLOG)
            if self._keys is not None:
                gatekeeper = Gatekeeper(context, self._name_of)
                socket.set(zmq.CURVE_SERVER, 1)
                socket.set(zmq.CURVE_SECRETKEY, bytes.fromhex(self._keys.secret))
                socket.set(zmq.ZAP_DOMAIN, DOMAIN)
            events = socket.get_monitor_socket(HANDSHAKE_EVENTS)
            socket.bind(self._listen_on)
        except BaseException as error:
            if events is not None:
                socket.disable_monitor()
                events.close(0)
            socket.close(0)
            if gatekeeper is not None:
                gatekeeper.close()
            context.term()
            if isinstance(error, zmq.ZMQError):
                raise OSError(error.errno, error.strerror) from error
            raise
        self._context, self._socket, self._gatekeeper, self._events = context, socket, gatekeeper, events
        self._poller = zmq.Poller()
        for each in (socket, events, *(() if gatekeeper is None else (gatekeeper.socket,))):
            self._poller.register(each, zmq.POLLIN)

    def close(self) -> None:
        """Stops listening; does nothing the second time."""
        if self._context is None:
            return
        self._socket.disable_monitor()
        self._events.close(0)
        self._socket.close()
        if self._gatekeeper is not None:
            self._gatekeeper.close()
        self._context.term()
        self._context = None

    @property
    def address(self) -> str:
        """Where it listens, with the port it got."""
        found = self._socket.get(zmq.LAST_ENDPOINT)
        assert isinstance(found, bytes)
        return found.decode()

    def receive(self, timeout_seconds: float, most: int) -> Iterator[Arrival | None]:
        """Waits for messages, for so long at most, and yields them; None for one that has no single part.

        Args:
            timeout_seconds: >= 0.
            most: Messages at most.
        """
        end = time.monotonic() + timeout_seconds
        while not self._poll(max(0.0, end - time.monotonic())) and time.monotonic() < end:
            pass
        for _ in range(most):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            yield _arrival(frames)

    def send(self, address: bytes, data: bytes) -> bool:
        """Sends a message; returns False where nobody is at that address any more, or takes nothing."""
        try:
            self._socket.send_multipart([address, data], zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def _poll(self, seconds: float) -> bool:
        """Waits for anything, does what is its own, and returns whether there is a message."""
        ready = dict(self._poller.poll(math.ceil(1000 * seconds)))
        if self._gatekeeper is not None and self._gatekeeper.socket in ready:
            self._gatekeeper.answer()
        for outcome in handshakes(self._events) if self._events in ready else ():
            self.refused_handshakes += outcome is not Handshake.DONE
        return self._socket in ready


def _arrival(frames: list[zmq.Frame]) -> Arrival | None:
    if len(frames) != 2:
        return None
    try:
        name = frames[1].get("User-Id")
    except zmq.ZMQError:  # there is none without keys
        name = ""
    assert isinstance(name, str)
    return Arrival(frames[0].bytes, name, frames[1].bytes)
