"""A Flower app of which the server watches a function; one partition burns in one round, and one is killed after it.

It is copied into the app's own folder, so it uses nothing of the tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from heflwr.automon import fleet
from heflwr.flower import LiveChannel, MonitoredGrid, monitored

BURNING_PARTITION, BURNING_ROUND = 1, 3
BURN_SECONDS = 0.9
"""CPU time; spread over three nodes it is well beyond the bound."""

KILLED_PARTITION = 2
BOUND = 0.1

LAST_WHOLE_ROUND = 3
ROUNDS = 5
"""After the third the server waits until the node is dead; it sends it one more message, and knows a round later."""

WAITING, KILLED = "waiting", "killed"
"""Files by which the server and the test tell each other."""

PATIENCE_SECONDS = 280.0

CONFIG = {"out": "", "nodes": 3}
BETWEEN = "mean between_cpu_usage"
WATCH = [
    fleet.mean("cpu_user_seconds", bound=BOUND),
    fleet.total("cpu_user_seconds", bound=3 * BOUND),
    fleet.mean("between_cpu_usage", bound=20.0),
]
LIVE = LiveChannel([{"kind": "mean", "metric": "memory_bytes", "bound": 2e7}], interval=0.2)
"""Watched between the rounds too; where, the environment says."""

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Burn where it is due."""
    number = message.content["config"]["server-round"]
    is_due = context.node_config["partition-id"] == BURNING_PARTITION and number == BURNING_ROUND
    until = time.process_time() + BURN_SECONDS * is_due
    while time.process_time() < until:
        sum(range(1000))
    told = ConfigRecord({"partition": int(context.node_config["partition-id"]), "names": sorted(message.content)})
    return Message(RecordDict({"told": told}), reply_to=message)


watched_client = monitored(client_app, watch=WATCH, warm_up=0, resident=True, live=LIVE)

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Send rounds of messages to whoever is there; leave what was known after each."""
    out, nodes = Path(str(context.run_config["out"])), int(context.run_config["nodes"])
    until = time.monotonic() + PATIENCE_SECONDS
    while len(ids := sorted(grid.get_node_ids())) < nodes and time.monotonic() < until:
        time.sleep(0.1)
    names: set[str] = set()
    partitions: dict[int, int] = {}
    between: list[dict[str, Any]] = []
    for number in range(1, ROUNDS + 1):
        if number == LAST_WHOLE_ROUND + 1:
            between.append(standing(len(ids), until))
            (out / WAITING).touch()
            while not (out / KILLED).exists() and time.monotonic() < until:
                time.sleep(0.05)
            between.append(standing(len(ids) - 1, until, between[0]["updates"]))
        content = RecordDict({"config": ConfigRecord({"server-round": number})})
        expected = [node for node in ids if number <= LAST_WHOLE_ROUND or partitions[node] != KILLED_PARTITION]
        messages = [Message(content, dst_node_id=node, message_type="train") for node in ids]
        for reply in received(grid, messages, expected, until):
            told = reply.content["told"]
            partitions[reply.metadata.src_node_id] = told["partition"]
            names.update(told["names"], reply.content)
        if number == LAST_WHOLE_ROUND + 1:
            ids = expected
    assert isinstance(grid, MonitoredGrid)
    assert grid.fleet is not None
    log = [
        [one.name, one.round, one.answer.value, one.answer.bound, one.answer.live, one.answer.lost, one.reports]
        for one in grid.fleet.log
    ]
    grid.history.save(out / "history.jsonl")
    result = {"log": log, "faults": grid.fleet.faults, "names": sorted(names), "between": between}
    (out / "result.json").write_text(json.dumps(result))


def standing(live: int, until: float, since: int = 0) -> dict[str, Any]:
    """Wait for an answer of the live channel that is of so many agents, and for more than so many local vectors.

    No message of Flower's is under way meanwhile.
    """
    while time.monotonic() < until:
        assert watched_server.live is not None
        (found,) = watched_server.live.standings
        if found.live == live and found.bound is not None and found.updates > since:
            break
        time.sleep(0.05)
    return asdict(found)


def received(grid: Grid, messages: list[Message], expected: Iterable[int], until: float) -> list[Any]:
    """Push messages and pull until those nodes have replied whose replies are expected."""
    ids = list(grid.push_messages(messages))
    missing, found = set(expected), []
    while missing and time.monotonic() < until:
        for reply in grid.pull_messages(ids):
            missing.discard(reply.metadata.src_node_id)
            ids.remove(reply.metadata.reply_to_message_id)
            found.append(reply)
        time.sleep(0.05)
    return found


watched_server = monitored(server_app, watch=WATCH, lease=1, live=LIVE)
