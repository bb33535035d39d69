"""The client: train, with a monitor around it, and send what it measured along with the new model."""

from __future__ import annotations

import task
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

# A thread costs next to nothing and is ready in a millisecond. Where training holds Python's interpreter lock for long,
# sample from a child process instead; this line is the only one to change:
# from heflwr.monitor.process_monitor import FileMonitor
from heflwr.monitor.thread_monitor import FileMonitor

RECORD = "heflwr"
"""Name of the record in the reply that carries the measurements. A strategy aggregates ArrayRecords and MetricRecords,
and insists that all clients send the same keys there; a ConfigRecord with a name of its own it leaves alone."""

INTERVAL_SECONDS = 0.05

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the model that came in on this client's examples."""
    client, clients = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    config = message.content["config"]
    round_number = int(config["server-round"])
    pixels, digits = task.partition(client, clients)
    model = message.content["arrays"].to_numpy_ndarrays()
    epochs = task.EPOCHS[client % len(task.EPOCHS)]

    monitor = FileMonitor(
        file=f"{config['log-folder']}/client-{client:02}.jsonl",
        format="jsonl",
        interval=INTERVAL_SECONDS,
        identifier=f"client {client} round {round_number}",
        loopback=True,  # a simulation's traffic never leaves the machine; without this, only real interfaces count
    )
    with monitor:
        model = task.train(model, pixels, digits, epochs, seed=1000 * round_number + client)

    measured = {
        "client": client,
        "round": round_number,
        "examples": len(digits),
        "epochs": epochs,
        "seconds": monitor.samples()[-1]["elapsed"],
        "cpu_seconds": monitor.describe()["cpu_seconds"].total,
        **monitor.summary(),
        **{f"stats.{name}": values for name, values in monitor.stats().items()},
    }
    reply = RecordDict(
        {
            "arrays": ArrayRecord(model),
            "metrics": MetricRecord({"num-examples": len(digits)}),
            RECORD: ConfigRecord(measured),
        }
    )
    return Message(reply, reply_to=message)
