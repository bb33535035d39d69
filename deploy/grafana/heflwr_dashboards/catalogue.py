"""Every family that heflwr exposes, read from the code that exposes it: a name that is not here is in no panel."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.models import units

from heflwr.collector.counters import Counters
from heflwr.collector.events import Hub
from heflwr.collector.fleet import Fleet
from heflwr.collector.pace import Pace
from heflwr.collector.store import Store
from heflwr.collector.store.rolling import Tails
from heflwr.flower import History
from heflwr.flower.cost import COLUMNS
from heflwr.flower.server.families import Families
from heflwr.live.families import FleetFamilies
from heflwr.monitor.metrics import METRICS, Kind

RATE_WINDOW = "$__rate_interval"

_LEVEL_UNITS = {
    "seconds": units.Seconds,
    "bytes": units.BytesIEC,
    "joules": units.Joule,
    "watts": units.Watt,
    "ratio": units.PercentUnit,
}
_RATE_UNITS = {"seconds": units.Short, "bytes": units.BytesPerSecondIEC, "joules": units.Watt}
"""What a base unit is by the second: seconds of CPU are cores, joules are watts."""

_ACRONYMS = {"cpu": "CPU", "gpu": "GPU"}


@dataclass(frozen=True)
class Series:
    """A family as PromQL knows it.

    Attributes:
        name: With the suffix of a counter.
        help: One sentence.
        is_counter: It only grows.
        group: The monitor's group; "" for other families.
        labels: What tells its series of one target apart, beside the labels of the target.
    """

    name: str
    help: str
    is_counter: bool
    group: str = ""
    labels: tuple[str, ...] = ()

    @property
    def base_unit(self) -> str:
        """The unit that the name ends in; "" for a count."""
        unit = self.name.removesuffix("_total").rpartition("_")[2]
        return unit if unit in _LEVEL_UNITS else ""

    @property
    def unit(self) -> str:
        """Grafana's unit of a value."""
        return _LEVEL_UNITS.get(self.base_unit, units.Short)

    @property
    def rate_unit(self) -> str:
        """Grafana's unit of `rate`."""
        return _RATE_UNITS.get(self.base_unit, units.CountsPerSecond)

    @property
    def shown_unit(self) -> str:
        """Grafana's unit of `shown`."""
        return self.rate_unit if self.is_counter else self.unit

    @property
    def title(self) -> str:
        """The name in words, without what most names share and without its unit."""
        name = self.name.removeprefix("heflwr_").removeprefix("client_")
        name = name.removesuffix("_total").removesuffix(f"_{self.base_unit}")
        first, *rest = (_ACRONYMS.get(word, word) for word in name.split("_"))
        return " ".join([first[0].upper() + first[1:], *rest])

    def at(self, selector: str) -> str:
        """Return the values of some series: `selector` is what stands between the braces."""
        return f"{self.name}{{{selector}}}"

    def rate(self, selector: str) -> str:
        """Return a counter's growth by the second."""
        return f"rate({self.at(selector)}[{RATE_WINDOW}])"

    def shown(self, selector: str) -> str:
        """Return what a graph shows: a counter's rate, a gauge's value."""
        return self.rate(selector) if self.is_counter else self.at(selector)

    def top(self, selector: str, most: int, by: str = "") -> str:
        """Return what a graph shows of the series that were highest over the whole time range, at most so many.

        A plain topk() chooses anew at each point in time, and a graph then has more lines than that.

        Args:
            selector: What stands between the braces.
            most: Series.
            by: A label that series are gathered by: counters are summed, of gauges the highest counts.
        """
        over_range = "increase" if self.is_counter else "avg_over_time"
        ranked = self.gathered(f"{over_range}({self.at(selector)}[$__range] @ end())", by)
        return f"{self.gathered(self.shown(selector), by)} and topk({most}, {ranked})"

    def gathered(self, expr: str, by: str) -> str:
        """Return an expression of this family's series with one series a value of the label `by`; "" leaves it."""
        if not by:
            return expr
        return f"{'sum' if self.is_counter else 'max'} by ({by}) ({expr})"


def _monitors() -> list[Series]:
    found: dict[str, Series] = {}
    for metric in METRICS:
        if (exported := metric.prometheus) is not None:
            is_counter = metric.kind is Kind.DELTA
            name = exported.name + "_total" * is_counter
            labels = tuple(label for label, _ in exported.labels)
            found[name] = Series(name, exported.help or metric.help, is_counter, metric.group, labels)
    return list(found.values())


MONITOR = _monitors()
"""What a monitor measures, a family once, in the order of the metric table."""

ALWAYS = (
    Series("heflwr_build_info", "Versions of heflwr, Python and the platform.", False),
    Series("heflwr_samples_total", "Samples taken since start.", True),
    Series("heflwr_sample_interval_seconds", "Time between samples, as asked for.", False),
    Series("heflwr_last_sample_timestamp_seconds", "Unix time of the sample that the other metrics show.", False),
)
"""What every monitor says of itself (`heflwr.monitor.sinks.prometheus`)."""


def _others() -> list[Series]:
    families = [*Families(History()).collect(), *FleetFamilies().collect(())]
    found = [
        Series(each.name + "_total" * (each.kind == "counter"), each.help, each.kind == "counter") for each in families
    ]
    store, pace = Store("never opened"), Pace()
    for family in Counters(store, Hub(), Fleet(store, Tails(), pace), pace).registry.collect():
        is_counter = family.type == "counter"
        found.append(Series(family.name + "_total" * is_counter, family.documentation, is_counter))
    return found


SERIES = {series.name: series for series in (*MONITOR, *ALWAYS, *_others())}
"""Every family by its name."""

NODES = [
    SERIES[column.prometheus.name + "_total" * (column.kind is Kind.DELTA)]
    for column in COLUMNS
    if column.prometheus is not None
]
"""What a call of a Flower client costs, by `node`, and counters by `kind` as well; in the order of the cost table."""
