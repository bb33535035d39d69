"""A node's end: one DEALER socket, heartbeats, repeats, and a file for its state. NumPy and ZeroMQ, no jax."""

from __future__ import annotations

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
from heflwr.automon.messages import Constraint, Message, Request, Slack
from heflwr.automon.signals import Goodbye, Heartbeat, Reason, Refusal, Signal, Welcome
from heflwr.automon.transports.node_end import NodeEnd

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray

    from heflwr.automon.zones.zone import Floats, PointFunction

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
        self._heartbeat_seconds = heartbeat_seconds
        self._file, self._clock = file, clock
        self._end = NodeEnd(index, function, retry_seconds, clock)
        self._session: int | None = None
        self._identity = b"n" + secrets.token_bytes(15)
        self._beat_at = 0.0
        self._heard_at = -np.inf
        self._is_changed = False  # since the state was stored
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
        self._beat_at = self._clock()

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
        return self._end.state.version

    def update(self, x: Floats) -> None:
        """Takes the new local vector, shape (d,), and sends what there is to say.

        Raises:
            ValueError: The vector is not finite, outside the function's domain, or of another shape than before.
        """
        self._send(self._end.update(x))

    def step(self, timeout_seconds: float = 0.0) -> None:
        """Waits for messages, for so long at most, and does all that is due."""
        assert self._socket is not None, "open() it first"
        end = self._clock() + timeout_seconds
        while True:
            self._do_what_is_due()
            retry_at = self._end.retry_at
            wait = min(end, self._beat_at, end if retry_at is None else retry_at) - self._clock()
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
                self._take(self._end.link.decode(data))
            except (ValueError, MalformedMessage):
                self.malformed += 1

    def _take(self, message: Message | Signal) -> None:
        self._heard_at = self._clock()
        if isinstance(message, Refusal):
            self.refusal = message.reason
        elif isinstance(message, Welcome):
            self._welcome(message.session)
        elif isinstance(message, Constraint | Slack | Request) and self._session is not None:
            answers = self._end.take(message)
            self._is_changed = True
            self._send(answers)
        else:
            self.malformed += 1

    def _welcome(self, session: int) -> None:
        """Takes part from now on; what a coordinator of another session said is void."""
        was_out = self.refusal is not None or session != self._session
        if self._session not in (None, session):
            self._end.void()
        self.refusal, self._session = None, session
        if was_out:
            self._is_changed = True
            self._send(self._end.repeated())

    # What goes out

    def _do_what_is_due(self) -> None:
        now = self._clock()
        if now >= self._beat_at:
            state = self._end.state
            is_sent = self._post(Heartbeat(self._index, state.version, state.sequence))
            self._beat_at = now + (self._heartbeat_seconds if is_sent else min(KNOCK_SECONDS, self._heartbeat_seconds))
        if self._end.retry_at is not None and now >= self._end.retry_at:
            self._send(self._end.repeated())

    def _send(self, messages: Iterable[Message]) -> None:
        if self.refusal is None:
            for message in messages:
                self._post(message)
                self._is_changed = True
        if self._is_changed:
            self._save()

    def _post(self, message: Message | Signal) -> bool:
        assert self._socket is not None, "open() it first"
        try:
            self._socket.send(self._end.link.encode(message), zmq.NOBLOCK)
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
        self._end.restore(state)

    def _save(self) -> None:
        """Stores the state: after every message of a protocol, either way; a vector inside the zone is no reason."""
        self._is_changed = False
        if self._file is None or self._session is None:
            return
        own: dict[str, NDArray[Any]] = {
            "session": np.array(self._session, dtype=np.int64),
            "identity": np.frombuffer(self._identity, dtype=np.uint8),
        }
        checkpoint.write(self._file, checkpoint.node_to_arrays(self._end.state) | own)
