"""How many messages each protocol takes, how far off it is, and what no protocol can do without."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from heflwr.automon.oracle import lower_bound_filter, lower_bound_info
from heflwr.automon.simulation import PROTOCOLS, simulate

from .data_sets import DataSet

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "gm": ("gm", {"guarantee": "heuristic"}),
    "gm proved": ("gm", {}),
    "auto": ("auto", {}),
}
"""What is run, by the name that the tables use: AutoMon's way, its protocol with the strongest guarantee that can be
had, and what is recommended. One that is not there is left out, as is "gm proved" where "gm" is no heuristic."""

Row = dict[str, Any]


def count(data_set: DataSet, error_bound: float, say: Callable[[str], None]) -> Row:
    """Run everything on one data set at one error bound."""
    row: Row = {"data": data_set.name, "error_bound": error_bound}
    rounds, nodes, row["dim"] = data_set.data.shape
    row["nodes"], row["rounds"], row["centralization"] = nodes, rounds, nodes * rounds
    known = data_set.reference.get(error_bound)
    if known is not None:
        row["reference"] = {"messages": known["messages"], "error": known["err_max"] / error_bound}
    for name, (protocol, options) in OURS.items():
        if protocol not in PROTOCOLS or (name == "gm proved" and row["gm"]["guarantee"] != "heuristic"):
            continue
        options = options | (data_set.options if name == "gm" else {})
        began = time.perf_counter()
        report = simulate(
            data_set.function, data_set.data, error_bound, protocol, tuning_data=data_set.tuning_data, **options
        )
        row[name] = {
            "messages": report.messages,
            "bytes": report.payload_bytes,
            "error": report.max_error / error_bound,
            "rounds_over": report.bound_violations,
            "guarantee": report.guarantee.value,
            "seconds": time.perf_counter() - began,
        }
    row["info"] = lower_bound_info(data_set.function, data_set.data, error_bound)
    row["filter"] = lower_bound_filter(data_set.function, data_set.data, error_bound)
    say(f"{data_set.name} at {error_bound:g}")
    return row


def ratios(rows: list[Row], protocol: str) -> list[float]:
    """Return messages over the reference's, for every row that has both."""
    return [
        row[protocol]["messages"] / row["reference"]["messages"] for row in rows if {protocol, "reference"} <= set(row)
    ]


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean; NaN of none."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
