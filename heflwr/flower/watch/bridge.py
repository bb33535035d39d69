"""Between the grid and the fleet: puts asks on messages, takes replies off, knows what is on its way."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from flwr.app import ConfigRecord, Message, RecordDict

from heflwr.automon.answer import Answer
from heflwr.automon.errors import MalformedMessage
from heflwr.automon.protocols.pull.messages import Ask
from heflwr.flower import records
from heflwr.flower.records import MalformedReport
from heflwr.flower.watch import wire
from heflwr.flower.watch.fleet import Fleet
from heflwr.flower.watch.pending import Asked, Pending
from heflwr.flower.watch.wire import Absent

_logger = logging.getLogger("heflwr.flower")

QUERY_SECONDS = 30.0
"""How long a round waits for their answers; what comes later counts as not answered."""

ROUNDED = 1 + 1e-9
"""A bound is a sum of many numbers: by how much it may be above what was asked for."""

NOT_RUN = (3, 4, 5)
"""Flower's codes for errors that leave open whether the app has run: message, reply or node unavailable."""

SILENT = (
    "a node said nothing: its app has neither monitored(client_app, watch=...) nor AutoMonMod, or its reply was made "
    "anew on the way"
)

NO_ANSWER = (
    'sync="query" has no effect on node %d: a mod alone is not called for a query; use monitored(client_app, watch=...)'
)


class Bridge:
    """The hooks that a MonitoredGrid calls; none of them ever raises, and each may be called from any thread."""

    def __init__(self, fleet: Fleet, send: Callable[..., Iterable[Message]]) -> None:
        """Begin a run.

        Args:
            fleet: What the replies go to.
            send: The grid's own send_and_receive.
        """
        self._fleet = fleet
        self._send = send
        self._lock = fleet.lock
        self._settling = threading.Lock()
        self._pending = Pending()
        self._due: int | None = None  # the round that is to be settled when nothing is on its way
        self._deaf: set[int] = set()
        fleet.begin()

    def outgoing(self, messages: Sequence[Message], rounds: Mapping[int, int]) -> tuple[list[Message], list[Asked]]:
        """Return the messages as they are to be pushed, and what has asks on it; the caller's own stay as they are.

        Args:
            messages: What the app sends.
            rounds: By the id() of the messages' metadata.
        """
        pushed: list[Message] = []
        batch: list[Asked] = []
        for message in messages:
            try:
                metadata = message.metadata
                if self._is_asked(message):
                    expires = time.monotonic() + metadata.ttl
                    message, asks = self._with_asks(message)
                    asked = Asked(metadata, metadata.dst_node_id, asks, rounds.get(id(metadata), 0), expires)
                    batch.append(asked)
                    with self._lock:
                        self._pending.add(asked)
            except Exception as error:
                self._fault(f"asking: {type(error).__name__}: {error}")
            pushed.append(message)
        return pushed, batch

    def gone(self, batch: Iterable[Asked]) -> None:
        """They are pushed, and have their ids."""
        with self._lock:
            for asked in batch:
                self._pending.pushed(asked)

    def take(self, reply: Message) -> None:
        """Take off a reply what the node says."""
        with self._lock:
            asked = self._pending.answered(reply.metadata.reply_to_message_id)
            if asked is None:
                return
            if not self._pending.is_latest(asked):
                with suppress(MalformedReport):
                    records.detach(reply, records.WATCH)
                return
            self._due = max(self._due or 0, asked.round)
            self._heard(asked.node, asked.asks, reply)

    def lose(self, batch: Iterable[Asked]) -> None:
        """Nobody waits any longer for those of the messages that are not answered."""
        with self._lock:
            for asked in batch:
                if self._pending.give_up(asked):
                    self._due = max(self._due or 0, asked.round)
                    self._each("unanswered", asked.node)

    def expire(self, clock: float) -> None:
        """What Flower has thrown away by now will never be pulled."""
        with self._lock:
            self.lose([asked for asked in self._pending.open if asked.expires < clock])

    def present(self, nodes: Iterable[int]) -> None:
        """These nodes are there, and no others."""
        with self._lock:
            here = set(nodes)
            gone = {node for line in self._fleet.lines for node in line.coordinator.nodes} - here
            for node in gone:
                self._each("lost", node)

    def settle(self) -> None:
        """If nothing is on its way any more and something was, the round is over; nor is what is `lease` rounds old."""
        with self._settling:
            try:
                self._settle()
            except Exception as error:
                self._fault(f"settling: {type(error).__name__}: {error}")

    def close(self) -> None:
        """The run is over."""
        with self._lock:
            self.lose(self._pending.open)
        self.settle()

    def _is_asked(self, message: Message) -> bool:
        """Whether a message is of a kind that counts, and its node is not asked already.

        Two calls of a node at once would have one memory, and nobody could say which measured last; and a grid around
        this one may ask with the same message.
        """
        kind, node = message.metadata.message_type, message.metadata.dst_node_id
        if kind not in self._fleet.kinds and kind.partition(".")[0] not in self._fleet.kinds:
            return False
        return node not in self._pending and message.has_content() and records.WATCH not in message.content

    def _settle(self) -> None:
        with self._lock:
            if self._due is None:
                return
            self.lose([asked for asked in self._pending.open if asked.round <= self._due - self._fleet.lease])
            if self._pending.open:
                return
            number, self._due = self._due, None
            answers = self._settled(number)
            late = self._late(answers) if self._fleet.sync == "query" else []
        if late:
            self._query(late)
            with self._lock:
                answers = self._settled(number)
        self._fleet.publish(number, answers)

    def _settled(self, number: int) -> list[Answer]:
        return [line.coordinator.settle(number) for line in self._fleet.lines]

    def _late(self, answers: Sequence[Answer]) -> list[int]:
        """Nodes without the present zone of a function whose answer is wider than its bound."""
        found: set[int] = set()
        for line, answer in zip(self._fleet.lines, answers, strict=True):
            if not answer.bound <= ROUNDED * (line.measure.bound or 0.0):
                for node in line.coordinator.nodes:
                    ask = line.coordinator.ask(node)
                    if ask.zone is not None or ask.session == 0:
                        found.add(node)
        return sorted(found - self._deaf)

    def _query(self, nodes: Sequence[int]) -> None:
        """Ask nodes at once; what they measured last, they remember."""
        with self._lock:
            sent = [
                self._with_asks(Message(RecordDict(), dst_node_id=node, message_type=records.QUERY)) for node in nodes
            ]
            self._fleet.queries += len(sent)
        waiting = set(nodes)
        try:
            for reply in self._send([message for message, _ in sent], timeout=QUERY_SECONDS):
                by_id = {message.metadata.message_id: (message.metadata.dst_node_id, asks) for message, asks in sent}
                node, asks = by_id.get(reply.metadata.reply_to_message_id, (None, []))
                if node in waiting:
                    waiting.discard(node)
                    if reply.has_error() and reply.error.code not in NOT_RUN:
                        if not self._deaf:  # the others have the same app
                            _logger.warning(NO_ANSWER, node)
                        self._deaf.add(node)
                    self._heard(node, asks, reply)
        except Exception as error:
            self._fault(f"query: {type(error).__name__}: {error}")

    def _with_asks(self, message: Message) -> tuple[Message, list[Ask]]:
        """The message with asks on it: a copy with the same metadata, into which Flower writes the id; and the asks."""
        node = message.metadata.dst_node_id
        with self._lock:
            asks = [line.coordinator.ask(node) for line in self._fleet.lines]
            head, *entries = wire.asks_bytes(self._fleet.fingerprint, asks)
            for line, entry in zip(self._fleet.lines, entries, strict=True):
                line.traffic.bytes_sent += len(entry)
            self._fleet.add_bytes(sent=len(head))
        ours = copy.copy(message)
        records.put(ours, records.WATCH, ConfigRecord({"data": b"".join([head, *entries])}))
        return ours, [replace(ask, zone=None) for ask in asks]

    def _heard(self, node: int, asks: Sequence[Ask], reply: Message) -> None:
        try:
            if reply.has_error():
                self._each("unanswered" if reply.error.code in NOT_RUN else "failed", node)
                return
            record = records.detach(reply, records.WATCH)
            if record is None:
                raise MalformedMessage(SILENT)
            self._read(node, asks, record)
        except (MalformedMessage, MalformedReport) as error:
            self._fault(str(error), node)
            self._each("unanswered", node)
        except Exception as error:
            self._fault(f"a reply: {type(error).__name__}: {error}", node)
            self._each("unanswered", node)

    def _read(self, node: int, asks: Sequence[Ask], record: ConfigRecord) -> None:
        fleet = self._fleet
        data = record.get("data")
        if not isinstance(data, bytes):
            raise MalformedMessage(f"the record {records.WATCH} holds {type(data).__name__} in place of bytes")
        read = wire.read_replies(data, fleet.fingerprint, asks, fleet.dims)
        if isinstance(read, str):
            fleet.add_bytes(received=len(data))
            self._fault(read, node)
            self._each("failed", node)
            return
        replies, sizes = read
        fleet.add_bytes(received=len(data) - sum(sizes))
        with self._lock:
            for line, reply, size in zip(fleet.lines, replies, sizes, strict=True):
                line.traffic.bytes_received += size
                if isinstance(reply, Absent):
                    if reply.reason:
                        self._fault(f"{line.measure.name}: {reply.reason}", node)
                    line.coordinator.failed(node)
                else:
                    line.traffic.replies += 1
                    if reply.vector is not None:
                        line.traffic.reports += 1
                        line.reporters.add(node)
                    line.coordinator.receive(node, reply)

    def _each(self, event: str, node: int) -> None:
        with self._lock:
            for line in self._fleet.lines:
                getattr(line.coordinator, event)(node)

    def _fault(self, text: str, node: int | None = None) -> None:
        self._fleet.fault(text, node)
