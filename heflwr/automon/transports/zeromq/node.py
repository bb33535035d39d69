"""A node's end: one DEALER socket, heartbeats, repeats, and a file for its state. NumPy and ZeroMQ, no jax."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from heflwr.automon import checkpoint
from heflwr.automon.codec import MOST_BYTES
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import Constraint, Envelope, Message, Request, Slack
from heflwr.automon.protocols.node import Node, NodeState
from heflwr.automon.signals import Goodbye, Heartbeat, Reason, Refusal, Signal, Welcome
from heflwr.automon.transports.link import NodeLink
from heflwr.automon.zone_format import dimension

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from heflwr.automon.zones.zone import Floats, PointFunction

_logger = logging.getLogger("heflwr.automon")

HEARTBEAT_SECONDS = 2.0
RETRY_SECONDS = 1.0
LINGER_MILLISECONDS = 1000
"""How long `close` waits at most for the goodbye to leave."""
KNOCK_SECONDS = 0.1
"""Between two tries while there is no connection."""
SILENT_HEARTBEATS = 3
"""A coordinator that answers none of so many heartbeats in a row is taken to be away."""


class NodeEndpoint:
    """A node that reaches its coordinator over ZeroMQ. Use it as a context manager, or `open` and `close` it.

    A node that is killed and begins again goes on with the same `file` at once; without one its index is free only
    after a goodbye (`close`) or when its lease has run out.

    Args:
        index: >= 0; no two nodes have the same.
        function: f in NumPy and its domain.
        address: Of the coordinator, which may be away for any time.
        heartbeat_seconds: Between two signs of life; a lease of the coordinator should last several.
        retry_seconds: After which what is unanswered is looked at again.
        file: Where the state is kept; None: it ends with the process.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        index: int,
        function: PointFunction,
        address: str,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if index < 0:
            raise ValueError(f"index must be >= 0, got {index}")
        for name, seconds in (("heartbeat_seconds", heartbeat_seconds), ("retry_seconds", retry_seconds)):
            if not seconds > 0:
                raise ValueError(f"{name} must be > 0, got {seconds}")
        self._index, self._function, self._address = index, function, address
        self._heartbeat_seconds, self._retry_seconds = heartbeat_seconds, retry_seconds
        self._file, self._clock = file, clock
        self._node = Node(index, function)
        self._link = NodeLink()
        self._session: int | None = None
        self._identity = b"n" + secrets.token_bytes(15)
        self._beat_at = self._retry_at = 0.0
        self._heard_at = -np.inf
        self._is_changed = False  # since the state was stored
        self._is_waiting = False  # something was said to which nothing was heard yet
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self.refusal: Reason | None = None
        """Why the coordinator does not let this node take part; None when it does."""
        self.malformed = 0
        """What arrived and was no message of a coordinator."""

    # Life

    def open(self) -> None:
        """Takes up the stored state, if there is one, and begins to connect; does not wait for the coordinator.

        Raises:
            MalformedMessage: The file holds something else.
            OSError: It cannot be read.
            zmq.ZMQError: The address is none.
        """
        if self._socket is not None:
            return
        self._restore()
        self._context = zmq.Context(io_threads=1)
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.set(zmq.LINGER, LINGER_MILLISECONDS)
            socket.set(zmq.MAXMSGSIZE, MOST_BYTES)
            socket.set(zmq.ROUTING_ID, self._identity)
            socket.set(zmq.IMMEDIATE, 1)  # what would be stale on arrival is not kept for a coordinator that is away
            socket.set(zmq.RECONNECT_IVL_MAX, max(100, int(1000 * self._heartbeat_seconds)))
            socket.set(zmq.HEARTBEAT_IVL, int(2000 * self._heartbeat_seconds))
            socket.connect(self._address)
        except BaseException:
            socket.close(0)
            self._context.term()
            raise
        self._socket = socket
        self._beat_at = self._retry_at = self._clock()

    def close(self) -> None:
        """Says goodbye, stores the state and disconnects; does nothing the second time."""
        if self._socket is None:
            return
        assert self._context is not None
        try:
            self._post(Goodbye(self._index))
            self._save()
        finally:
            self._socket.close()
            self._socket = None
            self._context.term()

    def __enter__(self) -> NodeEndpoint:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def is_connected(self) -> bool:
        """Whether the coordinator was heard of lately."""
        return self._clock() - self._heard_at < SILENT_HEARTBEATS * self._heartbeat_seconds

    @property
    def version(self) -> int:
        """The version of the node's constraint; 0: it has none."""
        return self._node.state.version

    def update(self, x: Floats) -> None:
        """Takes the new local vector, shape (d,), and sends what there is to say.

        Raises:
            ValueError: The vector is not finite, outside the function's domain, or of another shape than before.
        """
        self._send(self._node.update(x))

    def step(self, timeout_seconds: float = 0.0) -> None:
        """Waits for messages, for so long at most, and does all that is due."""
        assert self._socket is not None, "open() it first"
        end = self._clock() + timeout_seconds
        while True:
            self._do_what_is_due()
            wait = min(end, self._beat_at, self._retry_at if self._is_waiting else end) - self._clock()
            if self._socket.poll(max(0, int(1000 * wait))):
                self._receive()
            if self._clock() >= end:
                return

    # What arrives

    def _receive(self) -> None:
        assert self._socket is not None
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                (data,) = frames
                self._take(self._link.decode(data))
            except (ValueError, MalformedMessage):
                self.malformed += 1

    def _take(self, message: Message | Signal) -> None:
        self._heard_at = self._clock()
        if isinstance(message, Refusal):
            self.refusal = message.reason
        elif isinstance(message, Welcome):
            self._welcome(message.session)
        elif isinstance(message, Constraint | Slack | Request) and self._session is not None:
            envelopes = self._hand_over(message)
            self._is_waiting, self._is_changed = False, True
            self._send(envelopes)
        else:
            self.malformed += 1

    def _welcome(self, session: int) -> None:
        """Takes part from now on; what a coordinator of another session said is void."""
        was_out = self.refusal is not None or session != self._session
        if self._session not in (None, session):
            vector = self._node.state.vector
            self._node = Node.from_state(NodeState(self._index, vector=vector), self._function)
        self.refusal, self._session = None, session
        if was_out:
            self._is_changed = True
            self._repeat()

    def _hand_over(self, message: Constraint | Slack | Request) -> list[Envelope]:
        """Gives the node a message; one that does not fit its vector leaves it as it was."""
        state = self._node.state
        size = None if state.vector is None else state.vector.size
        if isinstance(message, Constraint) and dimension(message.zone) not in (None, size):
            raise MalformedMessage(f"a zone for vectors of {dimension(message.zone)} numbers arrived, ours have {size}")
        if isinstance(message, Slack) and message.slack.size != size:
            raise MalformedMessage(f"a slack of {message.slack.size} numbers arrived, our vectors have {size}")
        try:
            return self._node.receive(message)
        except Exception as error:  # numbers from elsewhere must not end a node
            self._node = Node.from_state(state, self._function)
            raise MalformedMessage(f"the node cannot take this message: {error}") from error

    # What goes out

    def _do_what_is_due(self) -> None:
        now = self._clock()
        if now >= self._beat_at:
            state = self._node.state
            is_sent = self._post(Heartbeat(self._index, state.version, state.sequence))
            self._beat_at = now + (self._heartbeat_seconds if is_sent else min(KNOCK_SECONDS, self._heartbeat_seconds))
        if self._is_waiting and now >= self._retry_at:
            self._repeat()

    def _repeat(self) -> None:
        """Says again what the last vector gives reason to."""
        self._is_waiting = False
        self._send(self._node.again())

    def _send(self, envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            if not self._is_waiting:
                self._is_waiting, self._retry_at = True, self._clock() + self._retry_seconds
            if self.refusal is None:
                self._post(envelope.message)
                self._is_changed = True
        if self._is_changed:
            self._save()

    def _post(self, message: Message | Signal) -> bool:
        assert self._socket is not None, "open() it first"
        try:
            self._socket.send(self._link.encode(message), zmq.NOBLOCK)
        except zmq.Again:  # the coordinator is away: time-outs and heartbeats make up for it
            return False
        return True

    # What survives

    def _restore(self) -> None:
        arrays = None if self._file is None else checkpoint.read(self._file)
        if arrays is None:
            return
        state = checkpoint.node_from_arrays(arrays, self._function)
        if state.index != self._index:
            raise MalformedMessage(f"{self._file} is the state of node {state.index}, this is node {self._index}")
        try:
            self._session, self._identity = int(arrays["session"]), arrays["identity"].tobytes()
        except (KeyError, TypeError) as error:
            raise MalformedMessage(f"{self._file} is no state of a node: {error}") from error
        self._node = Node.from_state(state, self._function)
        if state.vector is not None:
            self._link.remember(state.vector)

    def _save(self) -> None:
        """Stores the state: after every message of a protocol, either way; a vector inside the zone is no reason."""
        self._is_changed = False
        if self._file is None or self._session is None:
            return
        own: dict[str, NDArray[Any]] = {
            "session": np.array(self._session, dtype=np.int64),
            "identity": np.frombuffer(self._identity, dtype=np.uint8),
        }
        checkpoint.write(self._file, checkpoint.node_to_arrays(self._node.state) | own)
