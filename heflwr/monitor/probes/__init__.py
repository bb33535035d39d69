"""A folder of sources: one file each. A probe reads one group of metrics from the machine, and knows nothing else.

To add a source, write a class with this shape, put its metrics in `heflwr.monitor.metrics` and name it in
`heflwr.monitor.plan`.
"""

from __future__ import annotations

from typing import Protocol


class Probe(Protocol):
    """Reads one group of metrics. Constructors only remember; handles are taken in open()."""

    group: str
    """Which group of the metric table it fills."""

    def open(self) -> str:
        """Take handles, and say in a few words where the numbers come from.

        Raises:
            SourceUnavailable: The machine has no such source; the text names what was looked for.
        """

    def start(self, now_ns: int) -> None:
        """Count from here: the baseline of every increment. Called once, when everything else is ready."""

    def read(self, now_ns: int) -> tuple[float, ...]:
        """Return one value for each metric of the group, in the table's order; NaN where there is none.

        Called once a tick, with the monotonic clock's time. What it raises is counted, and the tick's values are NaN.
        """

    def close(self) -> None:
        """Give handles back. Called once after each open() that returned."""
