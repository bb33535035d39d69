"""What the requests of all processes add up to, a line for each method, route and status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from heflwr.monitor.wsgi.table import BOUNDS, EXCEPTIONS, PEAK, STARTS, WIDTH, Key, Table


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a quantity was spread over requests.

    Attributes:
        bounds: Upper bounds of the buckets but the last, which has none.
        counts: Requests in each bucket, one more than bounds.
        sum: Of all values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        """Requests that it was known of."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Mean value; NaN where there is none."""
        return self.sum / self.count if self.count else float("nan")


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """What requests of one kind cost.

    Attributes:
        method: One of RFC 9110, or "other".
        route: What `route=` said, or "all".
        status: "2xx" and the like; "none" where no answer was begun (a WebSocket).
        exceptions: Requests in which the application raised, also after it had begun to answer.
        memory_peak_bytes: Highest resident memory of a process while such a request was in flight; None if unknown.
        seconds: From the call to the close() of what it returned.
        cpu_seconds: CPU time of the serving thread inside the application.
        memory_rise_bytes: Peak less what was resident at the call, of requests that were alone in their process.
    """

    method: str
    route: str
    status: str
    exceptions: int
    memory_peak_bytes: int | None
    seconds: Distribution
    cpu_seconds: Distribution
    memory_rise_bytes: Distribution


def merged(tables: Iterable[Table]) -> list[RequestFigures]:
    """Return the sums (peaks: the highest) over tables, sorted by method, route and status."""
    sums: dict[Key, list[float]] = {}
    for table in tables:
        for key, row in table.rows():
            total = sums.setdefault(key, [0.0] * WIDTH)
            peak = max(total[PEAK], row[PEAK])
            total[:] = map(float.__add__, total, row)
            total[PEAK] = peak
    return [_figures(key, sums[key]) for key in sorted(sums)]


def _figures(key: Key, row: list[float]) -> RequestFigures:
    distributions = [
        Distribution(bounds, tuple(map(int, row[start + 1 : start + 2 + len(bounds)])), row[start])
        for start, bounds in zip(STARTS, BOUNDS, strict=True)
    ]
    peak = int(row[PEAK]) or None
    return RequestFigures(*key, int(row[EXCEPTIONS]), peak, *distributions)
