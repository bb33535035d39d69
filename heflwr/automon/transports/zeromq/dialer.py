"""The socket that an agent connects with: a DEALER, with CURVE or without.

It starts no thread and waits for no longer than it is told. What cannot be sent now is dropped, and said so.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator

import zmq

from heflwr.automon.transports.zeromq.curve import KeyPair
from heflwr.automon.transports.zeromq.handshake import (
    HANDSHAKE_EVENTS,
    IDLE_SECONDS,
    LINGER_MILLISECONDS,
    Handshake,
    handshakes,
)

LONGEST_RETRY_SECONDS = 2.0
"""Between two tries of ZeroMQ to connect."""


class Dialer:
    """Connects to a listener and connects again, for ever.

    Args:
        address: Of the listener.
        most_bytes: Longer messages end the connection.
        keys: Of this side; None: no encryption.
        server_key: The listener's public key; with `keys` only.
    """

    def __init__(
        self, address: str, most_bytes: int, keys: KeyPair | None = None, server_key: str | None = None
    ) -> None:
        self._address, self._most_bytes, self._keys, self._server_key = address, most_bytes, keys, server_key
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self.handshake = Handshake.OPEN
        """What became of the latest try to connect."""
        self.connections = 0
        """How often it was connected."""

    def open(self) -> None:
        """Begins to connect; does not wait.

        Raises:
            OSError: The address is none.
        """
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        socket = context.socket(zmq.DEALER)
        events: zmq.Socket[bytes] | None = None
        try:
            socket.set(zmq.LINGER, LINGER_MILLISECONDS)
            socket.set(zmq.IPV6, "[" in self._address)  # a name stays IPv4: only its first address would be tried
            socket.set(zmq.MAXMSGSIZE, self._most_bytes)
            socket.set(zmq.ROUTING_ID, b"a" + secrets.token_bytes(15))
            socket.set(zmq.IMMEDIATE, 1)  # what would be stale on arrival is not kept for a peer that is away
            socket.set(zmq.RECONNECT_IVL_MAX, int(1000 * LONGEST_RETRY_SECONDS))
            socket.set(zmq.HEARTBEAT_IVL, int(1000 * IDLE_SECONDS))
            if self._keys is not None and self._server_key is not None:
                socket.set(zmq.CURVE_PUBLICKEY, bytes.fromhex(self._keys.public))
                socket.set(zmq.CURVE_SECRETKEY, bytes.fromhex(self._keys.secret))
                socket.set(zmq.CURVE_SERVERKEY, bytes.fromhex(self._server_key))
            events = socket.get_monitor_socket(HANDSHAKE_EVENTS)
            socket.connect(self._address)
        except BaseException as error:
            if events is not None:
                socket.disable_monitor()
                events.close(0)
            socket.close(0)
            context.term()
            if isinstance(error, zmq.ZMQError):
                raise OSError(error.errno, error.strerror) from error
            raise
        self._context, self._socket, self._events = context, socket, events
        self._poller = zmq.Poller()
        for each in (socket, events):
            self._poller.register(each, zmq.POLLIN)

    def close(self) -> None:
        """Disconnects; does nothing the second time."""
        if self._context is None:
            return
        self._socket.disable_monitor()
        self._events.close(0)
        self._socket.close()
        self._context.term()
        self._context = None

    def reopen(self) -> None:
        """Connects anew: after a refused key ZeroMQ itself does not try again."""
        self.close()
        self.open()

    def receive(self, timeout_seconds: float) -> Iterator[bytes | None]:
        """Waits for messages, for so long at most, and yields them; None for one that has no single part."""
        end = time.monotonic() + timeout_seconds
        while not self._poll(max(0.0, end - time.monotonic())) and time.monotonic() < end:
            pass
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            yield frames[0] if len(frames) == 1 else None

    def send(self, data: bytes) -> bool:
        """Sends a message; returns False where there is no connection."""
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _poll(self, seconds: float) -> bool:
        ready = dict(self._poller.poll(math.ceil(1000 * seconds)))
        for outcome in handshakes(self._events) if self._events in ready else ():
            self.handshake = outcome
            self.connections += outcome is Handshake.DONE
        return self._socket in ready
