"""A fleet whose every local vector is logged aside: synthetic nodes on a LocalGrid, with the bridge's real two sides.

Nothing is measured: a node's sample is drawn, so that a thousand nodes take seconds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from local_grid import RUN_ID, LocalGrid

from heflwr.automon.fleet import Measure
from heflwr.flower import Fleet, MonitoredGrid, records
from heflwr.flower.client.turn import Turn
from heflwr.flower.watch.client import Watcher

Sampler = Callable[[int, int], Mapping[str, float]]
"""From a node and a round to what the node measures."""


class Raised(Exception):
    """The app failed."""


class Nodes(ClientApp):
    """Nodes that measure what a sampler says.

    Attributes:
        told: Each node's latest local vector of each function, by its place in the list: the truth.
        memories: What a node had told by the time it remembered those bytes: its vectors and how many, a function each.
        failing: Nodes whose app raises.
    """

    def __init__(self, measures: list[Measure], sampler: Sampler, *, warm_up: int = 0) -> None:
        super().__init__()
        self.measures = measures
        self.sampler = sampler
        self.watcher = Watcher(measures, warm_up=warm_up)
        self.told: list[dict[int, Any]] = [{} for _ in measures]
        self.memories: dict[tuple[int, bytes], list[tuple[Any, int]]] = {}
        self.failing: set[int] = set()

    def __call__(self, message: Message, context: Context) -> Message:
        turn = Turn(self.watcher, message, context)
        remembered = self.memories.get((context.node_id, remembrance(context)), [(None, 0)] * len(self.measures))
        if message.metadata.message_type == records.QUERY:
            reply = turn.query(message, context)
            self.memories[context.node_id, remembrance(context)] = remembered
            return reply
        assert records.WATCH not in message.content
        node = context.node_id
        if node in self.failing:
            raise Raised
        sample = self.sampler(node, int(message.content["config"]["server-round"]))
        reply = Message(RecordDict(), reply_to=message)
        if turn.is_asked:
            problems = turn.answer(context, reply, sample)
            after = []
            for place, (measure, (before, calls)) in enumerate(zip(self.measures, remembered, strict=True)):
                if not any(problem.startswith(measure.name) for problem in problems):
                    before, calls = smoothed(measure, before, measure.vector(sample), calls), calls + 1
                    self.told[place][node] = before
                after.append((before, calls))
            self.memories[node, remembrance(context)] = after
        return reply


def remembrance(context: Context) -> bytes:
    """The bytes that a node remembers; b"" where it has none."""
    record = context.state.get(records.WATCH)
    return bytes(record["data"]) if isinstance(record, ConfigRecord) else b""


def smoothed(measure: Measure, before: Any, x: Any, calls: int) -> Any:
    """A node's local vector after a call: of smoothed measures the exponentially weighted mean, of others x."""
    if measure.smooth is None or before is None:
        return x
    weight = max(1 - math.exp(-1 / measure.smooth), 1 / (calls + 1))
    return (1 - weight) * before + weight * x


class WatchedFleet:
    """A server with its nodes."""

    def __init__(self, measures: list[Measure], sampler: Sampler, nodes: int, **options: Any) -> None:
        self.measures = measures
        self.nodes = Nodes(measures, sampler)
        self.local = LocalGrid(self.nodes, nodes)
        self.options = options
        self.start()

    def start(self) -> None:
        """(Re)start the server."""
        self.fleet = Fleet(self.measures, **self.options)
        self.grid = MonitoredGrid(self.local, watch=self.fleet)

    def add(self, node: int) -> None:
        """One more node is there."""
        self.local.contexts[node] = Context(RUN_ID, node, {"partition-id": node}, RecordDict(), {})

    def messages(self, nodes: list[int], number: int) -> list[Message]:
        shared = RecordDict({"config": ConfigRecord({"server-round": number})})
        return [Message(shared, dst_node_id=node, message_type="train") for node in nodes]

    def round(self, number: int, nodes: list[int]) -> list[Message]:
        """Send a round's messages and wait for the replies, as strategies do."""
        known = set(self.grid.get_node_ids())
        assert set(nodes) <= known
        return list(self.grid.send_and_receive(self.messages(nodes, number)))

    def truths(self) -> list[float | None]:
        """F of the mean of the latest vectors of the nodes that count, a function each; None where none counts."""
        found: list[float | None] = []
        for line, told in zip(self.fleet.lines, self.nodes.told, strict=True):
            nodes = line.coordinator.nodes
            if not nodes:
                found.append(None)
                continue
            value = float(line.measure.function.value(np.mean([told[node] for node in nodes], axis=0)))
            found.append(value * (len(nodes) if line.measure.is_total else 1))
        return found

    def errors(self) -> list[str]:
        """In words, each answer that is further from the truth than it says."""
        wrong = []
        for name, truth in zip(self.fleet, self.truths(), strict=True):
            answer = self.fleet[name]
            if truth is None:
                if answer.value == answer.value:
                    wrong.append(f"{name}: an answer without nodes: {answer}")
            elif not abs(answer.value - truth) <= answer.bound + 1e-9 * max(1.0, abs(truth)):
                wrong.append(f"{name}: {answer.value} +- {answer.bound}, truth {truth}")
        return wrong


def with_lost_update(local: LocalGrid, node: int, act: Callable[[], Any]) -> Any:
    """Do something after which the node has the state that it had before: another call has overwritten it."""
    before = copy.deepcopy(local.contexts[node].state)
    result = act()
    local.contexts[node].state = before
    return result
