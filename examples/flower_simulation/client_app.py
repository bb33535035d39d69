"""The client: trains as any other. One line has its calls measured; a monitor of its own looks into a part of them."""

from __future__ import annotations

import json
from pathlib import Path

import task
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from heflwr.flower import monitored

# A thread costs next to nothing and is ready in a millisecond. Where training holds Python's interpreter lock for long,
# sample from a child process instead; this line is the only one to change:
# from heflwr.monitor.process_monitor import FileMonitor
from heflwr.monitor.thread_monitor import FileMonitor

INTERVAL_SECONDS = 0.05

# The first way, and all that the server's tables and pictures need: one line. What each call costs as a whole rides on
# its reply, and the server takes it off before the strategy sees it.
app = monitored(ClientApp())


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the model that came in on this client's examples."""
    client, clients = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    config = message.content["config"]
    round_number = int(config["server-round"])
    pixels, digits = task.partition(client, clients)
    model = message.content["arrays"].to_numpy_ndarrays()
    epochs = task.EPOCHS[client % len(task.EPOCHS)]
    file = Path(str(config["log-folder"])) / f"client-{client:02}.jsonl"

    # The second way, where you want to see inside a call: a monitor around the lines in question, here the training
    # without the loading of data before it. Its samples go to a file, and stats() and summary() tell what they were.
    monitor = FileMonitor(
        file=str(file),
        format="jsonl",
        interval=INTERVAL_SECONDS,
        identifier=f"client {client} round {round_number}",
        loopback=True,  # a simulation's traffic never leaves the machine; without this, only real interfaces count
    )
    with monitor:
        model = task.train(model, pixels, digits, epochs, seed=1000 * round_number + client)
    file.with_suffix(".json").write_text(json.dumps({"stats": monitor.stats(), "summary": monitor.summary()}))

    reply = {"arrays": ArrayRecord(model), "metrics": MetricRecord({"num-examples": len(digits)})}
    return Message(RecordDict(reply), reply_to=message)
