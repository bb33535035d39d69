"""The coordinator's end: one ROUTER socket, the nodes' leases, time-outs, and a checkpoint."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from heflwr.automon import checkpoint
from heflwr.automon.codec import decode, encode
from heflwr.automon.coordinator import Coordinator
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.messages import Envelope, Message, generation
from heflwr.automon.signals import Goodbye, Heartbeat, Refusal, Welcome
from heflwr.automon.transports.coordinator_end import CoordinatorEnd
from heflwr.automon.transports.roster import Roster

if TYPE_CHECKING:
    from types import TracebackType

    from heflwr.automon.answer import Answer
    from heflwr.automon.function import Function

ADDRESS = "tcp://127.0.0.1:5571"
LEASE_SECONDS = 10.0
"""Five heartbeats of a node."""
RETRY_SECONDS = 1.0
MOST_NODES = 1024
MOST_BYTES = 1 << 20
"""Of one message to the coordinator: a vector of 131,000 numbers."""
BATCH = 1000
"""Messages weighed together in one step, so that a flood does not keep time-outs from being looked at."""
SAVED_GENERATIONS = 256
"""A restarted coordinator skips 1,024 generations: the checkpoint must be younger than that."""
LINGER_MILLISECONDS = 200
"""How long `close` waits for what was sent last."""


class CoordinatorEndpoint:
    """A coordinator that nodes reach over ZeroMQ. Use it as a context manager, or `open` and `close` it.

    | what happens | what the coordinator is told |
    | --- | --- |
    | a node speaks for an index that nobody holds | join (nothing, where it is live already) |
    | a heartbeat with the version of its constraint | heard |
    | a goodbye, or silence for longer than the lease | lost |
    | a request unanswered for RETRY_SECONDS | resend |
    | a start with a checkpoint | from_state and restart |
    | another node speaks for an index that is held | nothing: that node is told so |

    Args:
        function: What is monitored.
        nodes: How many nodes the first sync waits for, numbered from 0; those that do not come are lost after a lease.
        error_bound: > 0.
        address: Where to listen; port * takes a free one, see `address`.
        lease_seconds: How long a node may be silent.
        retry_seconds: How long a request may stay unanswered.
        most_nodes: Indices of nodes are below.
        checkpoint: File for the state; where it exists the coordinator goes on from it. None: no state survives.
        checkpoint_seconds: How old a change may be before it is stored.
        clock: Seconds that never go back.
        options: `Coordinator`'s own, such as `protocol`.
    """

    def __init__(
        self,
        function: Function,
        nodes: int,
        error_bound: float,
        address: str = ADDRESS,
        *,
        lease_seconds: float = LEASE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        most_nodes: int = MOST_NODES,
        checkpoint: Path | None = None,
        checkpoint_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        if not retry_seconds > 0:
            raise ValueError(f"retry_seconds must be > 0, got {retry_seconds}")
        if nodes > most_nodes:
            raise ValueError(f"nodes must be <= most_nodes, {most_nodes}, got {nodes}")
        self._clock = clock
        self._listen_on = address
        self._roster = Roster(most_nodes, lease_seconds, clock())
        self._lease_seconds, self._most_nodes, self._retry_seconds = lease_seconds, most_nodes, retry_seconds
        self._function, self._error_bound, self._options = function, error_bound, options
        self._end = CoordinatorEnd(Coordinator(function, nodes, error_bound, **options), retry_seconds, clock)
        self._session = 0
        self._is_restored = False
        self._path, self._checkpoint_seconds = checkpoint, checkpoint_seconds
        self._saved_version, self._saved_at = -1, 0.0
        self._retry_at = 0.0
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self.malformed = 0
        """What arrived and was no message of a node."""
        self._refused = 0
        self.undelivered = 0
        """What was to be sent to nodes that are not there."""

    # Life

    def open(self) -> None:
        """Goes on from the checkpoint, if there is one, and listens.

        Raises:
            MalformedMessage: The checkpoint is none.
            OSError: It cannot be read or written.
            ValueError: A port that is none.
            zmq.ZMQError: Nobody can listen on this address.
        """
        if self._socket is not None:
            return
        port = self._listen_on.rpartition(":")[2]
        if port.isdecimal() and int(port) > 65535:  # ZeroMQ would take the rest of a division
            raise ValueError(f"the port of {self._listen_on!r} must be 0 to 65535; 0 takes a free one")
        outbox = self._restore()
        self._context = zmq.Context(io_threads=1)
        socket = self._context.socket(zmq.ROUTER)
        try:
            socket.set(zmq.LINGER, LINGER_MILLISECONDS)
            socket.set(zmq.MAXMSGSIZE, MOST_BYTES)
            socket.set(zmq.ROUTER_MANDATORY, 1)  # say so when a node is not there
            socket.set(zmq.ROUTER_HANDOVER, 1)  # a node may reconnect before its old connection is seen to be dead
            socket.set(zmq.HEARTBEAT_IVL, int(500 * self._lease_seconds))
            socket.bind(self._listen_on)
        except BaseException:
            socket.close(0)
            self._context.term()
            raise
        self._socket = socket
        now = self._clock()
        self._roster = Roster(self._most_nodes, self._lease_seconds, now)
        self._retry_at = now + self._retry_seconds
        self._send(outbox)

    def close(self) -> None:
        """Stores the state and stops listening; does nothing the second time."""
        if self._socket is None:
            return
        assert self._context is not None
        try:
            self._save()
        finally:
            self._socket.close()
            self._socket = None
            self._context.term()

    def __enter__(self) -> CoordinatorEndpoint:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where it listens, with the port it got."""
        assert self._socket is not None, "open() it first"
        return self._socket.get(zmq.LAST_ENDPOINT).decode()  # type: ignore[union-attr]

    @property
    def answer(self) -> Answer:
        """What is known now."""
        return self._end.coordinator.answer

    @property
    def refused(self) -> int:
        """What nodes sent for an index that is not theirs, and vectors that the coordinator refused."""
        return self._refused + self._end.coordinator.refused

    @property
    def unfit(self) -> dict[int, str]:
        """The nodes that were given up because all they sent was refused, and why."""
        return self._end.coordinator.unfit

    def step(self, timeout_seconds: float = 0.0) -> None:
        """Waits for messages, for so long at most, and does all that is due."""
        assert self._socket is not None, "open() it first"
        wait = max(0.0, min(timeout_seconds, self._retry_at - self._clock()))
        outbox: list[Envelope] = []
        inbox: list[Message] = []
        if self._socket.poll(int(1000 * wait)):
            for _ in range(BATCH):
                try:
                    frames = self._socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                outbox += self._take(frames, inbox)
        outbox += self._weigh(inbox)
        now = self._clock()
        for node in self._roster.expired(now):
            outbox += self._end.lose(node)
        if now >= self._retry_at:
            self._retry_at = now + self._retry_seconds
            outbox += self._end.tell(self._end.coordinator.resend)
        if self._is_save_due(now):
            self._save()
        self._send(outbox)

    # What arrives

    def _take(self, frames: list[bytes], inbox: list[Message]) -> list[Envelope]:
        """Looks at one message: a protocol's goes to the inbox, of signals the coordinator is told at once."""
        try:
            address, data = frames
            message = decode(data)
        except (ValueError, MalformedMessage):
            self.malformed += 1
            return []
        node = getattr(message, "node", None)
        if node is None:
            self.malformed += 1
            return []
        is_new = not self._roster.holds(node)
        reason = self._roster.hear(node, address, self._clock())
        if reason is not None:
            self._refused += 1
            self._post(address, encode(Refusal(reason)))
            return []
        outbox: list[Envelope] = []
        if isinstance(message, Goodbye):
            outbox += self._weigh(inbox)  # what it said before would make it join again
            self._roster.release(node)
            return outbox + self._end.lose(node)
        if is_new:
            self._post(address, encode(Welcome(self._session)))
            outbox += self._end.join(node)
            if self._is_restored:  # it is waited for: the requests sent at the start found nobody
                outbox += [again for again in self._end.coordinator.resend() if again.to == node]
        if isinstance(message, Heartbeat):
            if not is_new:
                self._post(address, encode(Welcome(self._session)))
            return outbox + self._end.heard(node, message.version, message.sequence)
        self._end.received(node, message)  # type: ignore[arg-type]
        inbox.append(message)  # type: ignore[arg-type]
        return outbox

    def _weigh(self, inbox: list[Message]) -> list[Envelope]:
        """Gives the coordinator all that has arrived, together."""
        messages = tuple(inbox)
        inbox.clear()
        return self._end.weigh(messages)

    # What goes out

    def _send(self, envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            address = self._roster.address(envelope.to)
            if address is None:
                self.undelivered += 1
                continue
            data = self._end.encode(envelope)
            if data is None:
                self.undelivered += 1
                continue
            self._post(address, data)

    def _post(self, address: bytes, data: bytes) -> None:
        assert self._socket is not None
        try:
            self._socket.send_multipart([address, data], zmq.NOBLOCK)
        except zmq.ZMQError:  # not there any more, or it does not take what it is sent
            self.undelivered += 1

    # What survives

    def _restore(self) -> list[Envelope]:
        """Takes the state from the checkpoint and stores the new versions before anybody hears of them."""
        arrays = None if self._path is None else checkpoint.read(self._path)
        if arrays is None:
            self._session = self._session or secrets.randbits(62)
            return []
        try:
            self._session = int(arrays.pop("session"))
            options = {name: value for name, value in self._options.items() if name != "radius"}
            restored = Coordinator.from_state(arrays, self._function, self._error_bound, **options)
        except (KeyError, ValueError, TypeError) as error:
            raise MalformedMessage(f"{self._path} holds no state of this coordinator: {error}") from error
        self._is_restored = True
        self._end = CoordinatorEnd(restored, self._retry_seconds, self._clock)
        outbox = self._end.tell(restored.restart)
        self._save()
        return outbox

    def _is_save_due(self, now: float) -> bool:
        version = self.answer.as_of
        is_late = now - self._saved_at >= self._checkpoint_seconds
        return version != self._saved_version and (
            is_late or generation(version) - generation(self._saved_version) >= SAVED_GENERATIONS
        )

    def _save(self) -> None:
        if self._path is None:
            return
        self._saved_version, self._saved_at = self.answer.as_of, self._clock()
        checkpoint.write(self._path, self._end.coordinator.state | {"session": np.array(self._session)})
