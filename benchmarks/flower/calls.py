"""Time single calls, watched and not in turn; print the figures as JSON: `python calls.py CALLS`."""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402

from heflwr.flower import MonitorMod  # noqa: E402
from heflwr.flower.cost import NAMES  # noqa: E402
from heflwr.flower.records import RECORD  # noqa: E402

WORK = {"nothing": 0.0, "50 ms of NumPy": 0.05, "0.5 s of NumPy": 0.5}


def main() -> None:
    calls = int(sys.argv[1])
    _take_identity()
    message = Message(
        RecordDict({"arrays": ArrayRecord([np.zeros((1000, 100))]), "config": ConfigRecord({"server-round": 1})}),
        100,
        "train",
    )
    context = Context(run_id=7, node_id=100, node_config={"partition-id": 0}, state=RecordDict(), run_config={})
    mod = MonitorMod()
    rows = []
    for name, seconds in WORK.items():
        steps = _calibrate(seconds)

        def handle(message: Message, context: Context, steps: int = steps) -> Message:
            _work(steps)
            metrics = MetricRecord({"num-examples": 1, "loss": 0.5})
            return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

        without, watched, own = [], [], []
        size = 0
        for _ in range(max(5, calls if not seconds else int(calls * 0.02 / seconds))):
            begun = time.perf_counter()
            handle(message, context)
            without.append(1e3 * (time.perf_counter() - begun))
            begun = time.perf_counter()
            reply = mod(message, context, handle)
            watched.append(1e3 * (time.perf_counter() - begun))
            record = reply.content[RECORD]
            own.append(1e3 * record["values"][NAMES.index("monitor_seconds")])
            size = len(record.deflate()) if hasattr(record, "deflate") else record.count_bytes()
        rows.append(
            {
                "name": name,
                "without": without,
                "with": watched,
                "own": own,
                "added": statistics.median(watched) - statistics.median(without),
                "bytes": size,
            }
        )
    print(json.dumps(rows))


def _work(steps: int) -> None:
    values = np.ones((120, 120))
    for _ in range(steps):
        values = np.tanh(values @ values / 120)


def _calibrate(seconds: float) -> int:
    if not seconds:
        return 0
    _work(20)
    begun = time.perf_counter()
    _work(200)
    return max(1, int(200 * seconds / (time.perf_counter() - begun)))


def _take_identity() -> None:
    """From flwr 1.38 on, a Message asks the process who it is."""
    try:
        from flwr.supercore.task_identity import TaskIdentity
    except ImportError:
        return
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, 1, 1


if __name__ == "__main__":
    main()
