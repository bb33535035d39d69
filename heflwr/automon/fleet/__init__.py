"""The catalogue: what is worth knowing of a whole fleet, each with its local vector, its function and its unit.

`X.vector(sample)` turns what a node's monitor reads into the node's local vector; `X.function` is the f that goes with
it, for `Coordinator`, `Node` and `simulate`. NumPy alone: no entry needs JAX.
"""

from heflwr.automon.fleet.custom import function
from heflwr.automon.fleet.histograms import (
    PERCENT_EDGES,
    SMOOTHING,
    cpu_entropy,
    cpu_p95,
    entropy,
    histogram,
    kl_drift,
    memory_p95,
    quantile,
)
from heflwr.automon.fleet.levels import (
    mean,
    mean_cpu,
    mean_memory,
    straggler_share,
    time_to_exhaustion,
    total,
    total_network,
    total_power,
)
from heflwr.automon.fleet.measure import Measure
from heflwr.automon.fleet.round_time import predicted_round_time
from heflwr.automon.fleet.spread import (
    bottleneck,
    coefficient_of_variation,
    cpu_fairness,
    cpu_imbalance,
    cpu_smooth_max,
    cpu_variation,
    imbalance,
    jain_fairness,
    smooth_max,
)

__all__ = [
    "PERCENT_EDGES",
    "SMOOTHING",
    "Measure",
    "bottleneck",
    "coefficient_of_variation",
    "cpu_entropy",
    "cpu_fairness",
    "cpu_imbalance",
    "cpu_p95",
    "cpu_smooth_max",
    "cpu_variation",
    "entropy",
    "function",
    "histogram",
    "imbalance",
    "jain_fairness",
    "kl_drift",
    "mean",
    "mean_cpu",
    "mean_memory",
    "memory_p95",
    "predicted_round_time",
    "quantile",
    "smooth_max",
    "straggler_share",
    "time_to_exhaustion",
    "total",
    "total_network",
    "total_power",
]
