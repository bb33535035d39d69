"""A folder of destinations: one file each. A sink writes samples somewhere, and knows nothing of how they came about.

To add a destination, write a class with this shape; `Monitor(sinks=[YourSink()])` takes it. With `runner="process"` it
is pickled to the sampling child, so its class must live in an importable module.

One that wants to know of windows, too, has a method `window(name: str, start: float, end: float | None)`, called like
write(): when a window opens, with its Unix time in seconds and no end, and once more when it closes.

One that cares how a run ended has a method `orphan()`: the sampling child calls it before close() where the process
that started it ended without stop(), as one that is killed does.
"""

from __future__ import annotations

from typing import Any, Protocol

from heflwr.monitor.sample import Run, Sample


class Sink(Protocol):
    """Writes samples somewhere. Constructors only remember and check; handles are taken in open().

    open() and close() come from the threads that start and end the run, write() from the sampling loop's own thread,
    never from one that trains; facts() may come from any thread.
    """

    flush_seconds: float
    """Longest that close() may take on its own account (0 for a sink that only closes a handle)."""

    def open(self, run: Run) -> None:
        """Take handles.

        Raises:
            SinkUnavailable: It cannot be had; the text names what was asked for, why not, and the way out.
        """

    def write(self, sample: Sample) -> None:
        """Take one sample, in well under a millisecond. What it raises is counted, and sampling goes on."""

    def close(self) -> None:
        """Give handles back, so that a later open() starts afresh. Called once after each open() that returned."""

    def facts(self) -> dict[str, Any]:
        """Return what is worth knowing now, for `monitor.health`: a JSON object with at least the key "sink"."""
