"""Watched functions as metric families of Prometheus; from plain values, whoever knows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from heflwr.exposition.text import Family, Labels

if TYPE_CHECKING:
    from heflwr.live.standing import Standing

_FAMILIES: tuple[tuple[str, str, str, Callable[[Standing], float | None]], ...] = (
    ("heflwr_fleet_value", "gauge", "Value of a watched function.", lambda each: each.value),
    (
        "heflwr_fleet_bound",
        "gauge",
        "How far off the value may be; missing while it is not known.",
        lambda each: each.bound,
    ),
    ("heflwr_fleet_live_clients", "gauge", "Clients that take part.", lambda each: each.live),
    ("heflwr_fleet_stale_clients", "gauge", "Live clients that are awaited or silent.", lambda each: each.stale),
    ("heflwr_fleet_lost_clients", "gauge", "Clients that were here and are gone.", lambda each: each.lost),
    ("heflwr_fleet_messages", "counter", "Messages about a watched function.", lambda each: each.messages),
)

_AVOIDED = ("heflwr_fleet_messages_avoided", "counter", "Messages that telling every change would have cost, too.")


class FleetFamilies:
    """Writes standings as families; remembers what counters must not fall below.

    Args:
        labels: Constant labels on every series.
    """

    def __init__(self, labels: Mapping[str, str] | None = None) -> None:
        self._labels = tuple((labels or {}).items())
        self._avoided: dict[str, int] = {}

    def collect(self, standings: Iterable[Standing]) -> Iterator[Family]:
        """Yield the families of all functions; call it from one thread at a time."""
        known = tuple(standings)
        for name, kind, meaning, value_of in _FAMILIES:
            values = [(self._series(each), value_of(each)) for each in known]
            yield Family(name, kind, meaning, [(labels, value) for labels, value in values if value is not None])
        for each in known:
            self._avoided[each.name] = max(each.avoided, self._avoided.get(each.name, 0))
        rows = [(self._series(each), float(self._avoided[each.name])) for each in known]
        yield Family(*_AVOIDED, rows)

    def _series(self, each: Standing) -> Labels:
        own = (("function", each.name), ("unit", each.unit), ("guarantee", each.guarantee))
        return (*self._labels, *own)
