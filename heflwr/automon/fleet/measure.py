"""One entry of the catalogue: from a node's sample to its local vector, and the function of the mean of those."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import expm1
from typing import Any

import numpy as np

from heflwr.automon.alerts import Alert
from heflwr.automon.answer import Answer
from heflwr.automon.box import Box
from heflwr.automon.function import Function
from heflwr.automon.zones.zone import Floats

Sample = Mapping[str, Any]
"""Metric name to number; a list of numbers, as a monitor's stats() has them, stands for the latest."""


MOST_CALLS = 10_000
"""Of a time constant: more than most federations have."""


@dataclass(frozen=True, eq=False)
class Measure:
    """Something worth knowing of a fleet.

    Args:
        name: For people, and what its answer is found under.
        unit: Of f and of its error bound.
        metrics: What a sample must hold.
        embed: From the values of these, shape (len(metrics),), to the local vector, shape (dim,).
        function: f, of the mean of the local vectors.
        span: Where local vectors are; None: anywhere.
        bound: How far off an answer may be, in `unit`, > 0; None: not said.
        is_total: What is asked for is f times the number of live nodes; the bound is of that.
        alerts: See `when`.
        smooth: See `smoothed`.
    """

    name: str
    unit: str
    metrics: tuple[str, ...]
    embed: Callable[[Floats], Floats] = field(repr=False)
    function: Function = field(repr=False)
    span: Box | None = field(default=None, repr=False)
    bound: float | None = None
    is_total: bool = False
    alerts: tuple[Alert, ...] = ()
    smooth: float | None = None

    def __post_init__(self) -> None:
        if self.bound is not None and not 0 < self.bound < np.inf:
            raise ValueError(f"the bound of {self.name} must be > 0, in {self.unit or 'its unit'}, got {self.bound}")

    @property
    def dim(self) -> int:
        """Size of the local vector."""
        return self.function.dim

    def when(
        self,
        *,
        call: Callable[[Answer], Any],
        above: float | None = None,
        below: float | None = None,
        certain: bool = False,
        possible: bool = False,
    ) -> Measure:
        """Return the measure with an alert: a function that is called when the answer passes a threshold.

        Args:
            call: Gets the answer; once, until the value is back.
            above: The threshold, in `unit`; or
            below: likewise.
            certain: Call only where the bound makes it certain; the default.
            possible: Call wherever a bound is known that does not rule it out.

        Raises:
            TypeError, ValueError: No function; not one threshold; both or certain and possible.
        """
        if certain and possible:
            raise ValueError("an alert is certain or possible, not both: certain waits for proof, possible for doubt")
        alert = Alert(call, above=above, below=below, certain=not possible)
        return replace(self, alerts=(*self.alerts, alert))

    def smoothed(self, calls: float) -> Measure:
        """Return the measure of what nodes measure on average of late: of their level, without the noise around it.

        A node's local vector is then a mean of what its calls told, in which each call weighs exp(-1 / calls) of the
        one after it; of the first calls, the plain mean. The answer is of these vectors, and so are its bound and its
        guarantee. A lasting change is in the local vector to 63 % after so many calls, to 95 % after three times as
        many. In a Flower app; the live channel has windows.

        Args:
            calls: The time constant, in calls of a node that count, 1 to MOST_CALLS.

        Raises:
            ValueError: It is out of range, or the measure is smoothed already.
        """
        if not 1 <= calls <= MOST_CALLS:
            raise ValueError(f"a measure is smoothed over 1 to {MOST_CALLS:g} calls, got {calls}")
        if self.smooth is not None:
            raise ValueError(f"{self.name} is smoothed already: say once over how many calls")
        return replace(self, name=f"{self.name} smoothed over {calls:g} calls", smooth=float(calls))

    def following(self, before: Floats | None, x: Floats, calls: int) -> Floats:
        """Return a node's local vector after one more call, shape (dim,); x itself where nothing is smoothed.

        Args:
            before: The local vector after the call before; None: there was none.
            x: What `vector` made of the call.
            calls: How many there were before, since the first one.
        """
        if self.smooth is None or before is None:
            return x
        weight = max(-expm1(-1 / self.smooth), 1 / (calls + 1))
        moved: Floats = before + weight * (x - before)
        return np.clip(moved, np.minimum(before, x), np.maximum(before, x))  # rounding must not leave the span

    def vector(self, *samples: Sample) -> Floats:
        """Return a node's local vector, shape (dim,), float64.

        Args:
            samples: The node's sample. Several stand for a window of time: the mean of their vectors, which weighs
                every sample of every node alike.

        Raises:
            ValueError: There is none, a metric is missing or has no value, or makes a vector that is not finite.
        """
        if not samples:
            raise ValueError(f"{self.name} needs at least one sample, got none")
        rows = [self._embedded(sample) for sample in samples]
        vector: Floats = np.mean(np.asarray(rows, dtype=np.float64), axis=0)
        if vector.shape != (self.dim,):
            raise ValueError(f"{self.name} needs local vectors of shape {(self.dim,)}, got {vector.shape}")
        if not np.isfinite(vector).all():
            raise ValueError(
                f"{self.name} has no local vector for {[dict(sample) for sample in samples]}: got {vector}"
            )
        return vector

    def _embedded(self, sample: Sample) -> Any:
        return self.embed(np.array([self._read(sample, metric) for metric in self.metrics]))

    def _read(self, sample: Sample, metric: str) -> float:
        if metric not in sample:
            raise ValueError(f"{self.name} needs the metric {metric!r}, and the sample has {', '.join(sorted(sample))}")
        value = sample[metric]
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = value[-1] if value else None
        number = np.nan if value is None or isinstance(value, str) else float(value)
        if not np.isfinite(number):
            usable = sorted(name for name in sample if name != metric)
            raise ValueError(
                f"{self.name} needs a finite number for {metric!r}, got {sample[metric]!r}; the sample also has "
                f"{', '.join(usable) or 'nothing'}: leave this sample out, or monitor another metric"
            )
        return number


@dataclass(frozen=True, eq=False)
class OfSamples(Measure):
    """A measure whose local vector is made of a whole sample by a function of the user's."""

    read: Callable[[Sample], Any] = field(default=lambda sample: (), repr=False)

    def _embedded(self, sample: Sample) -> Any:
        return np.asarray(self.read(sample), dtype=np.float64).reshape(-1)


def linear(weights: Sequence[float]) -> Function:
    """Return f(x) = weights.x, known to be linear without any tracing."""
    slope = np.array(weights, dtype=np.float64)
    flat = np.zeros((slope.size, slope.size))
    return Function(lambda x: slope @ x, slope.size, gradient=lambda x: slope.copy(), hessian=flat)


def unchanged(values: Floats) -> Floats:
    """The local vector is the values themselves."""
    return values


UNITS = (
    ("_usage", "percent"),
    ("_bytes_sent", "bytes"),
    ("_bytes_recv", "bytes"),
    ("bytes", "bytes"),
    ("seconds", "seconds"),
    ("_watts", "watts"),
    ("_joules", "joules"),
    ("energy", "joules"),
)
"""Endings of metrics' names and what they are in; all of them are >= 0."""


def unit_of(metric: str) -> str:
    """Return the unit that a metric's name tells; empty where it tells none."""
    if metric.startswith("power_vdd"):
        return "milliwatts"
    return next((unit for ending, unit in UNITS if metric.endswith(ending)), "")


def range_of(metric: str) -> tuple[float, float]:
    """Return the least and the largest value that a metric can have, as far as its name tells."""
    unit = unit_of(metric)
    return (0.0 if unit else -np.inf), (100.0 if unit == "percent" else np.inf)


def box_of(*metrics: str) -> Box:
    """Return where the vector of some metrics is."""
    ranges = [range_of(metric) for metric in metrics]
    return Box(np.array([low for low, _ in ranges]), np.array([high for _, high in ranges]))
