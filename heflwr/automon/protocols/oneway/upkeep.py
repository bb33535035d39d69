"""The zone that the nodes of the one-way protocol hold: certified after every change, another where it will not do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heflwr.automon.errors import UnsupportedFunction
from heflwr.automon.messages import Constraint, Envelope, Report, after_restart, generation, version
from heflwr.automon.protocols.oneway.thrift import Thrift
from heflwr.automon.protocols.oneway.weights import NEAR
from heflwr.automon.zones.drift import PointZone
from heflwr.automon.zones.slab import SlabZone

if TYPE_CHECKING:
    from heflwr.automon.function import Function
    from heflwr.automon.protocols.oneway.books import Books
    from heflwr.automon.protocols.oneway.certifier import Certifier, Range
    from heflwr.automon.zones.drift import DriftZone
    from heflwr.automon.zones.zone import Floats


class Upkeep:
    """What of the zone is to be told to whom, and the range of f over it.

    Args:
        function: What is monitored.
        certifier: Makes zones and certifies them.
        books: Of the nodes; anchors come in there, and what a node was sent is noted.
    """

    def __init__(self, function: Function, certifier: Certifier, books: Books) -> None:
        self._function = function
        self._books = books
        self._thrift = Thrift()
        self.certifier = certifier
        self.version = 0
        """Of the constraints."""
        self.zone: DriftZone | None = None
        """The present one; None before the first."""
        self.range: Range = (np.nan, np.nan)
        """The lowest and the highest that f can be; NaN before it is known."""
        self.full_syncs = self.lazy_syncs = 0
        """How often all nodes got a new zone, and how often only some were written to."""

    def reported(self, report: Report) -> None:
        """A node that holds its part of the zone has left it; its anchor is still the one before."""
        way = (report.vector - self._books.anchors[report.node]) / self._books.weights[report.node]
        self._thrift.reported(report, way)
        if self.zone is not None and self.zone.violation(way / NEAR) is None:
            self._books.reports[report.node] += 1

    def restart(self) -> None:
        """Begins anew: no zone is in force, and versions are later than any before."""
        self.version = after_restart(self.version)
        self.zone = None
        self._books.forget()

    def progress(self, *, is_waiting: bool) -> list[Envelope]:
        """Certifies the answer around the present centre, with a new zone where the present one will not do.

        Args:
            is_waiting: Vectors are awaited: the first zone waits for them.
        """
        if not self._books.is_known.any():
            self.range = np.nan, np.nan
            return []
        if self.zone is None and is_waiting:
            return []
        centre, nodes = self._centre(), int(self._books.is_live.sum())
        if self.zone is None:
            return self._renew(centre, nodes)
        if isinstance(self.zone, PointZone):
            if self._thrift.is_rested(nodes):
                self.certifier.learn(self._thrift.recent, 0, nodes)
                better = self._zone_around(centre)
                if better is not None and self._thrift.is_promising(better):
                    return self._renew(centre, nodes)
                self._thrift.rest()
            value = float(self._function.value(centre))
            found: tuple[float, float] | None = (value, value)
        else:
            found = self.certifier.range(centre)
        if found is None:
            return self._renew(centre, nodes)
        self.range = found
        if self._thrift.is_due(nodes) and not isinstance(self.zone, PointZone):
            self.certifier.longest = self._thrift.longest
            better = self._zone_around(centre)
            if better is not None:
                self._thrift.weigh(self.zone, better)
                if self._thrift.would_save(nodes):
                    return self._renew(centre, nodes)
            if self._books.is_worth_dealing(nodes) and self._thrift.has_credit(nodes):
                return self._deal()
        return self.restore(np.flatnonzero(self._books.is_known & ~self._books.has_zone))

    def _deal(self) -> list[Envelope]:
        """Gives all nodes other weights of the present zone."""
        self._books.deal()
        self._thrift.paid(len(self._books.known))
        return self._tell_all()

    def _renew(self, centre: Floats, nodes: int) -> list[Envelope]:
        """Gives all nodes a new zone around the centre, or asks for every change where zones cost more than that."""
        if self.zone is None:
            spread = np.square(self._books.anchors[self._books.is_known] - centre).sum(axis=1)
            self._thrift.longest = float(np.sqrt(spread.max()))
        elif not isinstance(self.zone, PointZone):
            self.certifier.learn(self._thrift.recent, self._thrift.reports, nodes)
        self.certifier.longest = self._thrift.longest
        self._thrift.close(nodes)
        found = None
        zone = None if self._thrift.is_too_dear(nodes) else self._zone_around(centre)
        if zone is not None:
            self.certifier.adopt(zone, centre)
            self.zone, found = zone, self.certifier.range(centre)
        if found is None:
            value = float(self._function.value(centre))
            self.zone, found = PointZone(), (value, value)
        self.range = found
        is_point = isinstance(self.zone, PointZone)
        if is_point:
            self._books.level()
        else:
            self._books.deal()
        self._thrift.renewed(len(self._books.known), is_point)
        return self._tell_all()

    def _tell_all(self) -> list[Envelope]:
        """Gives every known node its part of the zone, with the anchor where it may hold another one."""
        self.version = version(generation(self.version) + 1)
        self.full_syncs += 1
        known = self._books.known
        is_sure = self._books.has_zone[known] & self._books.is_confirmed[known]
        holders, others = known[is_sure], known[~is_sure]
        return self._constraints(holders, with_anchor=False) + self._constraints(others, with_anchor=True)

    def _centre(self) -> Floats:
        """The mean anchor; its rounding must not put it outside the domain."""
        centre = self._books.centre()
        return centre if self._function.domain is None else self._function.domain.clip(centre)

    def _zone_around(self, centre: Floats) -> DriftZone | None:
        """A zone around the centre; None where f has no derivatives to make one of."""
        try:
            return self.certifier.zone(centre)
        except UnsupportedFunction:
            return None

    def restore(self, nodes: Any) -> list[Envelope]:
        """Gives nodes the present zone with the anchor known here, under a version of its own."""
        if not len(nodes):
            return []
        if self.version + 1 >= version(generation(self.version) + 1):
            return self._renew(self._centre(), int(self._books.is_live.sum()))
        self.version += 1
        self.lazy_syncs += 1
        return self._constraints(nodes, with_anchor=True)

    def _constraints(self, nodes: Any, *, with_anchor: bool) -> list[Envelope]:
        zone = self.zone
        assert zone is not None
        light = zone.without_factor() if isinstance(zone, SlabZone) else zone
        scaled: dict[tuple[float, bool], DriftZone] = {}
        out = []
        for node in nodes.tolist():
            slack = self._books.anchors[node].copy() if with_anchor else None
            is_light, weight = bool(self._books.has_hessian[node]) and not with_anchor, float(self._books.weights[node])
            if (weight, is_light) not in scaled:
                scaled[weight, is_light] = (light if is_light else zone).scaled(weight)
            out.append(Envelope(node, Constraint(self.version, scaled[weight, is_light], slack)))
        self._books.versions[nodes] = self.version
        self._books.has_zone[nodes] = True
        self._books.has_hessian[nodes] = isinstance(zone, SlabZone)
        if with_anchor:
            self._books.since[nodes] = self.version
            self._books.is_confirmed[nodes] = False
        return out
