r"""A run's samples as lines of InfluxDB's line protocol: one measurement, `heflwr`.

    heflwr,host=board-7,identifier=client-3,run=9f86d081884c7d65 sequence=0i,cpu_usage=3.1 1763726400250000000

Who it was is in tags, which are indexed; every metric is a field, a whole number with an "i" behind it. The time is in
nanoseconds, as the protocol wants it, of which the last three digits are zero: a sample's time is no finer.
"""

from __future__ import annotations

import math
import re

from heflwr.monitor.sample import Run, Sample

MEASUREMENT = "heflwr"

_WHOLE_END = 2.0**63
"""Where InfluxDB's integers end."""

_SPECIAL = re.compile(r"([,= ])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Lines:
    """Writes the samples of one run, each as one line without its end."""

    def __init__(self, run: Run) -> None:
        tags = {"host": run.host, "identifier": run.identifier, "run": run.run}
        self._series = MEASUREMENT + "".join(f",{name}={_tag(value)}" for name, value in tags.items() if value)
        self._fields = [(f",{metric.name}=", metric.whole) for metric in run.metrics]

    def line(self, sample: Sample) -> str:
        """Return a sample's line; a value that is missing, or that the protocol cannot carry, is left out."""
        fields = "".join(
            f"{name}{int(value)}i" if whole else f"{name}{float(value)!r}"
            for (name, whole), value in zip(self._fields, sample.values, strict=True)
            if abs(value) < (_WHOLE_END if whole else math.inf)
        )
        return f"{self._series} sequence={sample.sequence}i{fields} {round(sample.time * 1e6)}000"


def _tag(value: str) -> str:
    r"""Return a tag's value as the protocol can carry it.

    It has no word for a control character, nor for a backslash at the end of a value: a blank stands for the one and
    follows the other.
    """
    text = _CONTROL.sub(" ", value.encode("utf-8", "backslashreplace").decode())
    return _SPECIAL.sub(r"\\\1", f"{text} " if text.endswith("\\") else text)
