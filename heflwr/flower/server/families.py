"""What entries add up to as metric families of Prometheus.

Names, units and scales of what clients measured are those of `heflwr.flower.cost`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from heflwr.exposition.text import Family, Labels
from heflwr.flower.cost import COLUMNS
from heflwr.flower.entry import Entry
from heflwr.flower.history.learning import KINDS, SERVER, WEIGHTS, weight_of, weighted_mean
from heflwr.flower.history.ledger import History, Overhead
from heflwr.flower.history.summary import straggler_ratio
from heflwr.flower.server.round_energy import RoundEnergy
from heflwr.monitor.metrics import Kind

if TYPE_CHECKING:
    from heflwr.flower.watch.fleet import Fleet
    from heflwr.flower.watch.lines import Settled
    from heflwr.live.families import FleetFamilies

NODES_MOST = 5000
"""Nodes with series of their own, some twenty each: a scrape of so many takes a second of CPU and has 5 MB."""

NAMES_MOST = 50
"""Message types, metrics and parts, each: clients and apps choose the names, and there must be an end."""

OTHER = "other"
"""Stands for the message types beyond."""

LABEL_LENGTH = 100
"""Longest text of a label; records and errors may bring longer ones."""

_ROUND_ENERGY = (
    ("heflwr_flower_round_energy_joules", "Energy of all calls of the latest round that is over."),
    ("heflwr_flower_round_energy_median_joules", "Median of the rounds before it, from the fifth on."),
)

_EXPORTED = tuple((column, column.prometheus) for column in COLUMNS if column.prometheus is not None)


class State(NamedTuple):
    """Families are the same as long as this is."""

    heard: int
    overhead: Overhead
    faults: dict[str, int]
    scores: dict[int, dict[str, float]]


class Families:
    """Listens like a sink, from any thread; collect() is called at a scrape."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._lock = threading.Lock()
        self._heard = 0
        self._round = 0
        self._nodes: set[int] = set()
        self._left_out: set[int] = set()
        self._names: dict[int, str] = {}  # by node, what its series are labelled with
        self._owners: dict[str, int] = {}  # by such a name, the node that goes on with its series
        self._told: dict[int, tuple[str, int]] = {}  # by node, the kind and round of its latest report
        self._kinds: set[str] = set()
        self._messages: dict[Labels, float] = {}
        self._calls: dict[Labels, float] = {}
        self._values: dict[str, dict[Labels, float]] = {exported.name: {} for _, exported in _EXPORTED}
        self._latest: dict[str, list[Entry]] = {kind: [] for kind in KINDS}  # of the latest round with that kind
        self._energy = RoundEnergy()
        self._overhead = 0.0
        self._watched: tuple[FleetFamilies, list[Settled]] | None = None

    def watch(self, fleet: Fleet) -> None:
        """Show what is known of the fleet, too."""
        from heflwr.live.families import FleetFamilies  # only who watches loads what it takes

        families = FleetFamilies()

        def take(settled: list[Settled]) -> None:
            with self._lock:
                self._heard += 1
                self._watched = families, settled

        fleet.listen(take)

    def sent(self, round: int) -> None:
        """Messages of a round went out."""
        with self._lock:
            self._heard += 1
            self._round = round
            self._energy.begin(round)

    def take(self, entry: Entry) -> None:
        """Take what became of a message."""
        with self._lock:
            self._heard += 1
            kind = self._kind(entry.kind)
            outcome = (("kind", kind), ("status", entry.status))
            self._messages[outcome] = self._messages.get(outcome, 0.0) + 1
            self._nodes.add(entry.node)
            latest = self._latest.get(entry.kind.partition(".")[0])
            if latest is not None and (not latest or latest[0].round <= entry.round):  # not one that comes too late
                if latest and latest[0].round < entry.round:
                    latest.clear()
                latest.append(entry)
            self._energy.take(entry)
            if entry.cost and (name := self._name(entry)) is not None:
                self._add(entry, name, kind)

    def state(self) -> State:
        """Return what collect() depends on."""
        return State(self._heard, self._history.overhead, self._history.faults, self._history.scores)

    def collect(self) -> Iterator[Family]:
        """Yield every family, also those that have no series yet."""
        with self._lock:
            values = {name: tuple(series.items()) for name, series in self._values.items()}
            latest = {kind: tuple(entries) for kind, entries in self._latest.items()}
            messages, calls = tuple(self._messages.items()), tuple(self._calls.items())
            energies = self._energy.spent, self._energy.usual
            nodes, left_out = len(self._nodes), len(self._left_out)
            number = self._round
            self._overhead = max(self._overhead, self._history.overhead.overhead_cpu_seconds)
            overhead = self._overhead
            watched = self._watched
        yield Family("heflwr_flower_round", "gauge", "The round that messages were sent for last.", [((), number)])
        yield Family("heflwr_flower_nodes", "gauge", "Nodes that were sent a message so far.", [((), nodes)])
        yield Family(
            "heflwr_flower_nodes_left_out", "gauge", "Nodes that are too many to have series here.", [((), left_out)]
        )
        yield Family("heflwr_flower_messages", "counter", "Messages by what became of them.", messages)
        yield Family("heflwr_client_calls", "counter", "Calls that a client told the cost of.", calls)
        for (name, meaning), joules in zip(_ROUND_ENERGY, energies, strict=True):
            yield Family(name, "gauge", meaning, [] if joules is None else [((), joules)])
        yield Family(
            "heflwr_flower_straggler_ratio",
            "gauge",
            "Time of the slowest call of the latest round of training, over that of the median.",
            _straggler_ratio(latest["train"]),
        )
        yield Family(
            "heflwr_flower_score",
            "gauge",
            "Latest metrics of the model: noted by the server, or of the clients' replies, weighted by examples.",
            self._scores(latest),
        )
        yield Family(
            "heflwr_flower_overhead_cpu_seconds",
            "counter",
            "CPU time that the run used besides the clients' calls, as far as the server's machine knows.",
            [((), overhead)],
        )
        faults = tuple(self._history.faults.items())[:NAMES_MOST]
        yield Family(
            "heflwr_flower_faults",
            "counter",
            "Failures of heflwr itself, which cost the run nothing.",
            [((("part", _text(part)),), times) for part, times in faults],
        )
        for column, exported in _EXPORTED:
            kind = "counter" if column.kind is Kind.DELTA else "gauge"
            yield Family(exported.name, kind, exported.help or column.help, values[exported.name])
        if watched is not None:
            from heflwr.flower.watch.standings import standings

            with self._lock:
                shown = list(watched[0].collect(standings(watched[1])))
            yield from shown

    def _kind(self, kind: str) -> str:
        kind = _text(kind)
        if kind not in self._kinds and len(self._kinds) >= NAMES_MOST:
            return OTHER
        self._kinds.add(kind)
        return kind

    def _name(self, entry: Entry) -> str | None:
        """Return the first name that a node told, or its id where another node has that name; None for one too many.

        It cannot have more series by changing its name. A node that came back under a new id, as after a restart, goes
        on with the old series; but two that report of the same kind and round, or by turns, are two.
        """
        node, told = entry.node, (entry.kind, entry.round)
        name = self._names.get(node)
        if name is None:
            name = _text(entry.name)
            owner = self._owners.get(name)
            if owner is not None and self._told[owner] == told:
                name = str(node)
            if name not in self._owners and len(self._owners) >= NODES_MOST:
                self._left_out.add(node)
                return None
            self._names[node] = name
        elif (other := self._owners[name]) != node:  # it had been taken for gone
            self._names[other] = str(other)
            self._owners[str(other)] = other
        self._owners[name] = node
        self._told[node] = told
        return name

    def _add(self, entry: Entry, name: str, kind: str) -> None:
        call = (("node", name), ("kind", kind))
        self._calls[call] = self._calls.get(call, 0.0) + 1
        for column, exported in _EXPORTED:
            if (value := entry.cost.get(column.name)) is None:
                continue
            series = self._values[exported.name]
            if column.kind is Kind.DELTA:
                series[call] = series.get(call, 0.0) + max(0.0, value) * exported.scale  # a counter never falls
            else:
                series[(("node", name),)] = value * exported.scale

    def _scores(self, latest: Mapping[str, tuple[Entry, ...]]) -> list[tuple[Labels, float]]:
        found: dict[Labels, float] = {}
        noted = {name: value for _, metrics in sorted(self._history.scores.items()) for name, value in metrics.items()}
        for name, value in noted.items():
            found[_score(name, SERVER)] = value
        for kind, entries in latest.items():
            told: dict[str, list[tuple[float, float]]] = {}
            for entry in entries:
                for name in entry.metrics.keys() - set(WEIGHTS):
                    told.setdefault(name, []).append((entry.metrics[name], weight_of(entry.metrics)))
            for name in sorted(told):
                found[_score(name, kind)] = weighted_mean(told[name])
        return list(found.items())[:NAMES_MOST]


def _straggler_ratio(calls: Iterable[Entry]) -> list[tuple[Labels, float]]:
    seconds = [call.cost["seconds"] for call in calls if "seconds" in call.cost]
    ratio = straggler_ratio(seconds)
    return [] if ratio is None else [((), ratio)]


def _score(metric: str, source: str) -> Labels:
    return (("metric", _text(metric)), ("source", source))


def _text(text: str) -> str:
    """Return a label's text: one that UTF-8 can carry (JSON can carry more), and no longer than need be."""
    return text[:LABEL_LENGTH].encode(errors="replace").decode()
