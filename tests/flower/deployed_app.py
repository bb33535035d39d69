"""A Flower app whose cost is known: what the deployment's tests run, with heflwr on both sides, on one, with an agent.

It is copied into the app's own folder, so it uses nothing of the tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from heflwr.flower import HistoryFile, MonitoredGrid, monitored
from heflwr.flower.records import RECORD

BURNING_PARTITION = 1
BURN_SECONDS = 0.3
"""CPU time that each training on one of the nodes takes; the others do next to nothing."""

WEIGHTS = (1, 1, 2)
"""Examples of each partition: a mean with these weights is exact, in whatever order replies come."""

HELD_PARTITION = 2
HOLD_SECONDS = 200.0
"""Where `hold` is set: one node's first training does not end before somebody kills it."""

HELD = "held"
"""File that tells that the held training has begun; it holds the node's id."""

KILLED = "killed"
"""File that tells the server to wait for that node no more."""

QUERY_SECONDS = 3.0
"""How long the server waits for the dead node's answer to one last message."""

NODES_SECONDS = 60.0
"""Longest to wait for SuperNodes."""

CONFIG = {"out": "", "nodes": 3, "rounds": 1, "evaluate": 0.0, "hold": False, "newcomers": 0}
"""What a run may set: where to leave results; how many nodes must be there; rounds, and the share of nodes that
evaluate; whether the held partition holds; how many more nodes must be there before the second round."""

SHAPE = (20, 20)
"""Of the model's one array, which is zero at first; each training adds the partition's number and 1."""

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Add what the partition says; burn, or hold, where the partition is to."""
    partition = int(context.node_config["partition-id"])
    until = time.thread_time() + BURN_SECONDS * (partition == BURNING_PARTITION)
    while time.thread_time() < until:  # a monitor's thread is not part of it
        sum(range(1000))
    if context.run_config["hold"] and partition == HELD_PARTITION and message.content["config"]["server-round"] == 1:
        Path(str(context.run_config["out"]), HELD).write_text(str(context.node_id))
        time.sleep(HOLD_SECONDS)
    model = [array + (1 + partition) for array in message.content["arrays"].to_numpy_ndarrays()]
    metrics = MetricRecord({"num-examples": WEIGHTS[partition % len(WEIGHTS)], "loss": 0.5})
    return Message(RecordDict({"arrays": ArrayRecord(model), "metrics": metrics}), reply_to=message)


@client_app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Say something."""
    metrics = MetricRecord({"num-examples": 10, "accuracy": 0.5})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


monitored_client = monitored(client_app)
resident_client = monitored(client_app, resident=True)

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Average; leave the history, where there is one, and the model's values in the folder `out`."""
    config, out = context.run_config, Path(str(context.run_config["out"]))
    nodes = int(config["nodes"])
    reports = 0

    def aggregate(replies: list[RecordDict], weighted_by: str) -> MetricRecord:
        nonlocal reports
        reports += sum(RECORD in reply for reply in replies)
        return MetricRecord({weighted_by: sum(int(reply["metrics"][weighted_by]) for reply in replies)})

    def await_others(round_number: int, arrays: ArrayRecord) -> None:
        """Go on with the next round once there are as many more nodes as the configuration says."""
        if round_number == 0:
            known.update(grid.get_node_ids())
        if round_number == 1:
            deadline = time.monotonic() + NODES_SECONDS
            while len(set(grid.get_node_ids()) - known) < int(config["newcomers"]):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no {config['newcomers']} nodes came within {NODES_SECONDS:g} s")
                time.sleep(0.1)

    known: set[int] = set()
    while len(list(grid.get_node_ids())) < nodes:
        time.sleep(0.1)
    result = FedAvg(
        min_available_nodes=min(2, nodes),
        min_train_nodes=min(2, nodes),
        min_evaluate_nodes=min(2, nodes),
        fraction_evaluate=float(config["evaluate"]),
        train_metrics_aggr_fn=aggregate,
    ).start(
        grid,
        initial_arrays=ArrayRecord([np.zeros(SHAPE)]),
        num_rounds=int(config["rounds"]),
        train_config=ConfigRecord({"rate": 0.1}),
        evaluate_fn=await_others,
    )
    values = np.unique(result.arrays.to_numpy_ndarrays()[0]).tolist()
    (out / "result.json").write_text(json.dumps({"values": values, "reports": reports}))
    if isinstance(grid, MonitoredGrid):
        grid.history.save(out / "history.jsonl")


monitored_server = monitored(server_app)


class Impatient:
    """A Grid that gives up a node as soon as it is told of its end: what a timeout does, but never too early."""

    def __init__(self, grid: Grid, folder: Path) -> None:
        self._grid = grid
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        messages = list(messages)
        waiting = dict(zip(self._grid.push_messages(messages), messages, strict=True))
        replies: list[Message] = []
        while {message.metadata.dst_node_id for message in waiting.values()} - self._dead():
            for reply in self._grid.pull_messages(waiting):
                waiting.pop(reply.metadata.reply_to_message_id)
                replies.append(reply)
            time.sleep(0.2)
        return replies

    def _dead(self) -> set[int]:
        return {int((self._folder / HELD).read_text())} if (self._folder / KILLED).exists() else set()


bereaved_server = ServerApp()


@bereaved_server.main()
def mourn(grid: Grid, context: Context) -> None:
    """Do the same without the node that is killed; send it one more message; keep a growing history, too."""
    out = Path(str(context.run_config["out"]))
    with MonitoredGrid(Impatient(grid, out), sinks=[HistoryFile(out / "growing.jsonl")]) as patient:
        server_app(patient, context)
    with MonitoredGrid(grid, history=patient.history) as timed:
        last = Message(RecordDict(), dst_node_id=int((out / HELD).read_text()), message_type="query")
        timed.send_and_receive([last], timeout=QUERY_SECONDS)
        timed.history.save(out / "history.jsonl")
