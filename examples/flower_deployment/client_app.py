"""The client: trains as any other. One line has its calls measured, and an agent watch the SuperNode between them."""

from __future__ import annotations

import os

import task
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from heflwr.flower import Node, monitored
from heflwr.monitor.sinks import Sink
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.remote import RemoteSink


def sinks(node: Node) -> list[Sink]:
    """Return where this node's samples go: its `--node-config` says it, its environment knows the collector's token."""
    found: list[Sink] = []
    if "samples" in node.config:
        found.append(FileSink(node.config["samples"], format="jsonl"))
    if "collector" in node.config:
        found.append(RemoteSink(node.config["collector"], simple=False, token=os.environ.get("HEFLWR_COLLECTOR_TOKEN")))
    return found


app = monitored(ClientApp(), resident=True, sinks=sinks)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the model that came in on this client's examples."""
    client, clients = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    round_number = int(message.content["config"]["server-round"])
    pixels, digits = task.partition(client, clients)
    model = message.content["arrays"].to_numpy_ndarrays()
    epochs = task.EPOCHS[client % len(task.EPOCHS)]
    model = task.train(model, pixels, digits, epochs, seed=1000 * round_number + client)
    reply = {"arrays": ArrayRecord(model), "metrics": MetricRecord({"num-examples": len(digits)})}
    return Message(RecordDict(reply), reply_to=message)
