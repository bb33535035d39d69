"""A run's samples as rows of JSON that can wait on disk: what `_otlp_messages` makes requests of.

The head says once what all rows have in common: the resource, the start of the run, and what each column is. A row is
the sample's time in nanoseconds and a value a column, null where there is none. Counters hold totals since the start.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks._otlp_names import convention
from heflwr.monitor.sinks._running_sums import RunningSums

Attribute = str | bool | int | float

INTEGER_END = 2**63
"""Where OTLP's integers end."""


def head(run: Run, resource: Mapping[str, Attribute]) -> str:
    """Return what all rows of the run have in common.

    Args:
        run: The run.
        resource: More attributes of who is measured; they stand before our own of the same name.
    """
    who: dict[str, Attribute] = {
        "service.name": "heflwr",
        "service.instance.id": run.identifier,
        "host.name": run.host,
        "process.pid": run.pid,
        "heflwr.identifier": run.identifier,
        "heflwr.run": run.run,
        **resource,
    }
    columns = []
    for metric in run.metrics:
        named = convention(metric.name, run.sources)
        columns.append(
            {
                "name": named.name,
                "unit": named.unit,
                "instrument": named.instrument.value,
                "description": named.description or metric.help,
                "attributes": dict(named.attributes),
            }
        )
    return json.dumps(
        {
            "resource": {key: _unicode(value) if isinstance(value, str) else value for key, value in who.items()},
            "scope": ["heflwr.monitor", run.versions.get("heflwr", "")],
            "start": _nanoseconds(run.started),
            "columns": columns,
        }
    )


class Rows:
    """Makes the rows of one run."""

    def __init__(self, run: Run) -> None:
        self._sums = RunningSums(run.metrics)
        self._columns = [(metric.whole, convention(metric.name, run.sources).scale) for metric in run.metrics]

    def row(self, sample: Sample) -> str:
        """Return a sample's row."""
        values = [
            _number(value, scale, whole)
            for (whole, scale), value in zip(self._columns, self._sums.take(sample.values), strict=True)
        ]
        return json.dumps([_nanoseconds(sample.time), *values])


def _number(value: float, scale: float, whole: bool) -> float | int | None:
    if not abs(value) < (INTEGER_END if whole else math.inf):
        return None
    return int(value) if whole else value * scale


def _nanoseconds(seconds: float) -> int:
    """Return Unix time in nanoseconds, of which the last three digits are zero: a sample's time is no finer."""
    return round(seconds * 1e6) * 1000


def _unicode(text: str) -> str:
    """Return text without halves of surrogate pairs, which are not Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()
