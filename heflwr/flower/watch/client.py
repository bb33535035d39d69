"""The client's side: from what a call cost to a local vector, and from what the server asks to a reply."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message

from heflwr.automon.errors import MalformedMessage
from heflwr.automon.fleet import Measure
from heflwr.automon.protocols.pull.messages import Ask, Reply
from heflwr.automon.protocols.pull.node import Memory, step
from heflwr.automon.zones.zone import Floats
from heflwr.flower import records
from heflwr.flower.watch import memory as memories
from heflwr.flower.watch import watched, wire
from heflwr.flower.watch.memory import Kept
from heflwr.flower.watch.wire import Absent
from heflwr.monitor import arguments

WARM_UP = 1
"""Calls of a node that are left out: the first one starts up what the later ones find running."""

WARM_UP_MOST = 1000

Vectors = Callable[[int], "Floats | Absent"]
"""From a function's place in the list to the local vector, or to why there is none."""


class Watcher:
    """Replies to the server's asks; holds settings only, so that it can be pickled to a worker.

    Args:
        watch: Measures, the same list as on the server.
        warm_up: How many of a node's first calls are left out.

    Raises:
        TypeError, ValueError: As `watched.listed`, or a warm_up out of range.
    """

    def __init__(self, watch: Iterable[Measure], *, warm_up: int = WARM_UP) -> None:
        measures = watched.listed(watch)
        self._warm_up = arguments.integer("warm_up", warm_up, 0, WARM_UP_MOST)
        self._fingerprint = watched.fingerprint(measures)
        self._measures = watched.for_nodes(measures)
        self._dims = [measure.dim for measure in measures]

    def after_call(
        self,
        asked: ConfigRecord,
        state: ConfigRecord | None,
        context: Context,
        reply: Message,
        sample: Mapping[str, Any],
    ) -> list[str]:
        """Put on a reply what the call tells, and remember it.

        Args:
            asked: What came with the message.
            state: The node's memory as it was when the message came.
            context: Of the call; its state gets the memory.
            reply: The app's; one that is an error stays as it is, and the call measured nothing.
            sample: What the call cost, by metric.

        Returns:
            What went wrong, in words.
        """

        def vector(place: int) -> Floats | Absent:
            measure = self._measures[place]
            missing = [metric for metric in measure.metrics if metric not in sample]
            if missing:
                is_starting = records.AGENT in sample and all(name.startswith(records.BETWEEN) for name in missing)
                return Absent(f"this node does not measure {', '.join(missing)}", is_warming=is_starting)
            try:
                return measure.vector(sample)
            except Exception as error:  # embeddings are the user's, too
                return Absent(f"{type(error).__name__}: {error}")

        return self._reply(asked, state, context, reply, vector)

    def query(self, asked: ConfigRecord, state: ConfigRecord | None, context: Context, reply: Message) -> list[str]:
        """Put on a reply what the latest call told, checked against what is asked now; nothing is measured."""
        return self._reply(asked, state, context, reply, None)

    def _reply(
        self,
        asked: ConfigRecord,
        state: ConfigRecord | None,
        context: Context,
        reply: Message,
        vector: Vectors | None,
    ) -> list[str]:
        if not reply.has_content():
            return []
        try:
            asks = self._asks(asked)
        except (MalformedMessage, _OtherList) as error:
            refuse(reply, str(error), self._fingerprint)
            return [str(error)]
        before = self._remembered(state)
        calls = before.calls + (vector is not None)
        stamp = max(before.stamp + 1, time.time_ns() // 1000)
        replies: list[Reply | Absent] = []
        after: list[Memory] = []
        for place, (ask, memory) in enumerate(zip(asks, before.functions, strict=True)):
            x: Floats | Absent | None
            if vector is not None:
                x = vector(place) if calls > self._warm_up else None
                if isinstance(x, np.ndarray):
                    x = self._measures[place].following(memory.last, x, memory.calls)
            else:  # what came before a report that the server knows is not what was measured last
                is_older = ask.session == memory.session and ask.sequence > memory.sequence
                x = None if is_older else memory.last
            if x is None:
                replies.append(Absent(is_warming=True))
            elif isinstance(x, Absent):
                replies.append(x)
            else:
                stepped, told = _stepped(memory, ask, x, stamp)
                memory = stepped if vector is not None else _unlearnt(stepped, memory)
                replies.append(told)
            after.append(memory)
        data = wire.replies_bytes(self._fingerprint, after[0].session, stamp, replies)
        kept = memories.to_bytes(self._fingerprint, Kept(calls, stamp, tuple(after)))
        remembered = ConfigRecord({"data": kept})
        records.put(reply, records.WATCH, ConfigRecord({"data": data}))
        context.state[records.WATCH] = remembered
        return [
            f"{measure.name}: {told.reason}"
            for measure, told in zip(self._measures, replies, strict=True)
            if isinstance(told, Absent) and told.reason
        ]

    def _asks(self, asked: ConfigRecord) -> Sequence[Ask]:
        asks = wire.read_asks(_data_of(asked), self._fingerprint, self._dims)
        if asks is None:
            names = ", ".join(measure.name for measure in self._measures)
            raise _OtherList(
                f"the server watches another list of functions than this node: give both the same; {names}"
            )
        return asks

    def _remembered(self, state: ConfigRecord | None) -> Kept:
        """The node's memory, or an empty one where it has none of this list."""
        if state is not None:
            try:
                return memories.from_bytes(_data_of(state), self._fingerprint, self._dims)
            except MalformedMessage:  # of an earlier list, or the app's own doing: the server learns of a new session
                pass
        return Kept(0, 0, (Memory(_random()),) * len(self._measures))


class _OtherList(Exception):
    """The server asks for functions that this node does not watch."""


def refuse(reply: Message, reason: str, fingerprint: bytes = bytes(wire.FINGERPRINT_BYTES)) -> None:
    """Tell the server why this node says nothing of any function."""
    if reply.has_content():
        records.put(reply, records.WATCH, ConfigRecord({"data": wire.refusal_bytes(fingerprint, reason)}))


def _data_of(record: ConfigRecord) -> bytes:
    data = record.get("data")
    if not isinstance(data, bytes):
        raise MalformedMessage(f"the record {records.WATCH} holds {type(data).__name__} in place of bytes")
    return data


def _stepped(memory: Memory, ask: Ask, x: Floats, stamp: int) -> tuple[Memory, Reply]:
    """Take the protocol's step, with the clock in place of the numbers of calls and of reports.

    Two calls at once may begin from one memory, of which only one leaves its own behind. Numbers in a row would then be
    the same for different calls: the server could tell neither which came later nor which one the node goes on from.
    """
    memory, told = step(memory, ask, x)
    if told.vector is not None:
        memory, told = replace(memory, sequence=stamp), replace(told, sequence=stamp)
    return memory, replace(told, calls=stamp)


def _unlearnt(memory: Memory, before: Memory) -> Memory:
    """The memory after a query: nothing was measured, so that nothing is learnt."""
    return replace(memory, calls=before.calls, mean=before.mean, misses=before.misses)


def _random() -> int:
    """A random number > 0, from the system: the program's own generators stay as they are."""
    return int.from_bytes(os.urandom(4), "little") | 1
