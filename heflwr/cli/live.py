"""One line at the bottom of the terminal that shows the latest sample while a command runs above it.

The command writes to the terminal by itself, so nobody can redraw what it wrote. The bottom row is therefore taken out
of the terminal's scrolling region (DECSTBM), as package managers do for their progress bars: output scrolls above it.
"""

from __future__ import annotations

import os
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from heflwr.monitor.sample import Run, Sample
from heflwr.quantities import clock, quantity

DRAW_SECONDS = 0.1
"""Shortest time between two drawings: nobody reads faster."""

LEAST_ROWS = 4
"""On a terminal with fewer rows there is no room for a line of ours."""

_SAVE, _RESTORE, _CLEAR_LINE = "\x1b7", "\x1b8", "\x1b[2K"
_DOWN, _UP = "\x1bD", "\x1b[1A"
"""Down scrolls on the last row and keeps the column, which a newline would not."""


def can_draw(stream: IO[str]) -> bool:
    """Return True where `stream` is a terminal that can move its cursor."""
    return stream.isatty() and not Console(file=stream).is_dumb_terminal


class LiveLine:
    """A sink (see `heflwr.monitor.sinks.Sink`) that draws each sample over the one before."""

    flush_seconds = 0.0

    def __init__(self, stream: IO[str]) -> None:
        """Remember the terminal; nothing is drawn before open()."""
        self._descriptor = stream.fileno()
        self._console = Console(file=stream)
        self._drawn = 0
        self._size: tuple[int, int] | None = None

    def open(self, run: Run) -> None:
        self._units = {metric.name: metric.unit for metric in run.metrics}
        self._columns = {metric.name: index for index, metric in enumerate(run.metrics)}
        self._before = self._drawn_at = 0.0

    def write(self, sample: Sample) -> None:
        span, self._before = sample.elapsed - self._before, sample.elapsed
        if self._drawn and sample.elapsed - self._drawn_at < DRAW_SECONDS:
            return
        self._drawn_at = sample.elapsed
        size = os.get_terminal_size(self._descriptor)
        if size.lines < LEAST_ROWS:
            return
        steps = [] if self._size == (size.columns, size.lines) else [self._reserve(size.columns, size.lines)]
        line = self._line(sample, span)
        line.truncate(size.columns - 1, overflow="ellipsis")
        with self._console.capture() as drawing:
            self._console.print(line, end="", soft_wrap=True)
        steps += [_SAVE, f"\x1b[{size.lines};1H", _CLEAR_LINE, drawing.get(), _RESTORE]
        self._put("".join(steps))
        self._drawn += 1

    def close(self) -> None:
        if self._size is not None:
            rows = self._size[1]
            self._put(f"{_SAVE}\x1b[r\x1b[{rows};1H{_CLEAR_LINE}{_RESTORE}")
            self._size = None

    def facts(self) -> dict[str, Any]:
        return {"sink": "live", "drawn": self._drawn}

    def _reserve(self, columns: int, rows: int) -> str:
        """Take the bottom row out of the scrolling region, with the cursor above it wherever it was."""
        self._size = (columns, rows)
        return f"{_DOWN}{_UP}{_SAVE}\x1b[1;{rows - 1}r{_RESTORE}"

    def _line(self, sample: Sample, span: float) -> Text:
        def value(name: str) -> float:
            return sample.values[self._columns[name]] if name in self._columns else float("nan")

        line = Text.assemble((" heflwr ", "reverse"), " ", (clock(sample.elapsed), "bold"))
        for label, name, style in _SHOWN:
            if value(name) == value(name):
                line.append(f"  {label} ", "dim").append(quantity(value(name), self._units[name]), style)
        for label, name, style in _SHOWN_PER_SECOND:
            if value(name) == value(name) and span > 0:
                line.append(f"  {label} ", "dim")
                line.append(quantity(value(name) / span, self._units[name], "/s"), style)
        return line

    def _put(self, text: str) -> None:
        os.write(self._descriptor, text.encode())  # in one piece, so that the command's output does not come between


_SHOWN = (
    ("CPU", "cpu_usage", "green"),
    ("memory", "memory_bytes", "cyan"),
    ("power", "power_vdd_in", "yellow"),
    ("GPU", "gpu_usage", "magenta"),
)
_SHOWN_PER_SECOND = (
    ("sent", "network_bytes_sent", "blue"),
    ("received", "network_bytes_recv", "blue"),
    ("read", "disk_bytes_read", "magenta"),
    ("written", "disk_bytes_written", "magenta"),
)
"""What fits into a line, with its colour: as it is, and per second."""
