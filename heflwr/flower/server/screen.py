"""A run's table as lines for a terminal: flower's one home of rich, imported when a console draws."""

from __future__ import annotations

import heapq
import os
import statistics
from collections.abc import Callable, Sequence
from typing import IO, Literal, NamedTuple

from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from heflwr import quantities
from heflwr.flower.entry import LOST, OK, Entry
from heflwr.flower.server import wording
from heflwr.flower.server.progress import View
from heflwr.flower.server.wording import printable

ROWS = 20
"""Nodes in the table: what fits on a screen beside some log lines."""

FAILED_ROWS = 5
"""Of these, nodes at the top whose call failed or was lost: they need attention, but must not hide the slow ones."""

LINES_BESIDES = 8
"""Rows of the terminal that are no node's: title, heads, rest, totals, the cursor's, and three for log lines."""

LEAST_COLUMNS, LEAST_LINES = 40, 10
"""A smaller terminal has no room for a table, and gets the title alone."""

WIDEST = 120
"""Columns: beyond, the eye loses the row."""

STRAGGLER_RATIO = 1.5
"""A call that took so many times the median of its round is marked."""

NAME_COLUMNS = 20
STATUS_COLUMNS = 24
"""Of a node's name and of what became of its call: others decide how long these are."""

BAR_COLUMNS = 12

GAP = 2
"""Between columns of the table."""


class _Looks(NamedTuple):
    """What cells are drawn with."""

    full: str
    part: Sequence[str]
    empty: str
    mark: str
    dots: str


_UNICODE = _Looks("█", " ▏▎▍▌▋▊▉", "░", "◀", "…")
_ASCII = _Looks("#", " ", ".", "<", "...")


class _Scale(NamedTuple):
    """What calls are compared with."""

    median: float
    slowest: float
    round: int
    looks: _Looks


class _Column(NamedTuple):
    title: str
    justify: Literal["left", "right"]
    cell: Callable[[Entry, _Scale], Text]
    keep: int  # the higher, the longer it stays as the terminal gets narrower
    needs: str = ""  # a column of the cost: shown only where a node measured it


def can_draw(stream: IO[str]) -> bool:
    """Return True where a terminal can show a table in place."""
    console = Console(file=stream)
    return not console.is_dumb_terminal and not console.legacy_windows


class Screen:
    """Draws views for one terminal."""

    def __init__(self, stream: IO[str], rounds: int | None) -> None:
        """Look at the terminal.

        Args:
            stream: It.
            rounds: How many the run has, where one knows.
        """
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._looks = _ASCII if self._console.options.ascii_only else _UNICODE
        self._rounds = rounds

    def lines(self, view: View, size: os.terminal_size) -> list[str]:
        """Return the view as lines, each narrower than the terminal, some fewer than it has rows."""
        width = min(size.columns - 1, WIDEST)
        printed: list[Text | Table] = [self._title(view, width)]
        if width >= LEAST_COLUMNS and size.lines >= LEAST_LINES:
            shown = slowest_first(view.calls, min(ROWS, size.lines - LINES_BESIDES))
            if shown:
                printed.append(self._table(view, shown, width))
            if rest := len(view.calls) - len(shown):
                printed.append(Text(f"{self._looks.dots} and {rest} more", "dim"))
            printed.append(Text(totals(view), "bold"))
        self._console.size = ConsoleDimensions(width, size.lines)  # it would look for a terminal of its own
        with self._console.capture() as drawing:
            for one in printed:
                if isinstance(one, Text):
                    one.truncate(width, overflow="ellipsis" if self._looks is _UNICODE else "crop")
                self._console.print(one, no_wrap=True, crop=True)
        return drawing.get().splitlines()

    def _title(self, view: View, width: int) -> Text:
        title = Text.assemble((" heflwr ", "reverse"), "  ")
        batch = view.batch
        if batch is None:
            return title.append("waiting for the first messages  ").append(quantities.clock(view.elapsed), "dim")
        title.append(f"round {batch.round}", "bold")
        title.append("  " if self._rounds is None else f" of {self._rounds}  ").append(printable(batch.kind), "cyan")
        answers = len(batch.entries)
        end = Text(f"  {answers} of {batch.nodes} nodes")
        end.append(f"  {quantities.clock(batch.elapsed())}", "bold" if batch.ended is None else "dim")
        end.append(f"  run {quantities.clock(view.elapsed)}", "dim")
        room = min(width - title.cell_len - end.cell_len - GAP, 2 * BAR_COLUMNS)
        if room >= BAR_COLUMNS:
            title.append(" " * GAP).append_text(_bar(answers / max(1, batch.nodes), room, "green", self._looks))
        return title.append_text(end)

    def _table(self, view: View, shown: Sequence[Entry], width: int) -> Table:
        latest = [call.cost["seconds"] for call in view.calls if call.round == view.round and "seconds" in call.cost]
        scale = _Scale(
            median=statistics.median(latest) if len(latest) > 1 else 0.0,
            slowest=max((call.cost.get("seconds", 0.0) for call in shown), default=0.0),
            round=view.round,
            looks=self._looks,
        )
        measured = {name for call in shown for name in call.cost}
        columns = []
        for column in _COLUMNS:
            if not column.needs or column.needs in measured:
                title = Text(column.title.format(kind=printable(view.kind)))
                title.truncate(NAME_COLUMNS, overflow="ellipsis")
                cells = [column.cell(call, scale) for call in shown]
                columns.append((column, [title, *cells], max(cell.cell_len for cell in (title, *cells))))
        while sum(wide + GAP for _, _, wide in columns) - GAP > width and len(columns) > 2:
            columns.remove(min(columns, key=lambda column: column[0].keep))
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
        for column, (title, *_), _ in columns:
            table.add_column(title, justify=column.justify, no_wrap=True, overflow="ellipsis")
        for row in zip(*(cells for _, (_, *cells), _ in columns), strict=True):
            table.add_row(*row)
        return table


def slowest_first(calls: Sequence[Entry], rows: int) -> list[Entry]:
    """Return the calls that get a row: some that failed, then those that took longest."""
    failed = sorted((call for call in calls if call.status != OK), key=lambda call: (call.status != LOST, call.name))
    first = failed[: min(FAILED_ROWS, rows)]
    answered = (call for call in calls if call.status == OK)
    slow = heapq.nlargest(rows - len(first), answered, key=lambda call: call.cost.get("seconds", -1.0))
    return first + slow + failed[len(first) : rows - len(slow)]


def totals(view: View) -> str:
    """Return what the run cost so far, in a line."""
    so_far = view.totals
    parts = [f"{so_far.calls} messages"]
    parts += wording.unanswered(so_far.errors, so_far.lost) + wording.spent(so_far.sums)
    parts += wording.accuracy(view.accuracy)
    return "   ".join(parts)


def _bar(share: float, columns: int, style: str, looks: _Looks) -> Text:
    eighths = round(min(1.0, max(0.0, share)) * columns * len(looks.part))
    full, part = divmod(eighths, len(looks.part))
    bar = looks.full * full + (looks.part[part] if part else "")
    return Text(bar, style).append(looks.empty * (columns - len(bar)), "dim")


def _of(column: str, word: Callable[[float], str]) -> Callable[[Entry, _Scale], Text]:
    """Return a cell of a measured number."""
    return lambda call, scale: Text(word(call.cost[column]) if column in call.cost else "-", _style(call, scale))


def _style(call: Entry, scale: _Scale) -> str:
    """Calls of earlier rounds step back."""
    return "" if call.round == scale.round else "dim"


def _name(call: Entry, scale: _Scale) -> Text:
    name = Text(printable(call.name), "bold" if call.round == scale.round else "dim")
    name.truncate(NAME_COLUMNS, overflow="ellipsis")
    return name


def _time_bar(call: Entry, scale: _Scale) -> Text:
    if "seconds" not in call.cost or scale.slowest <= 0:
        return Text("")
    style = "yellow" if _is_straggler(call, scale) else "green"
    return _bar(call.cost["seconds"] / scale.slowest, BAR_COLUMNS, style, scale.looks)


def _ratio(call: Entry, scale: _Scale) -> Text:
    if "seconds" not in call.cost or scale.median <= 0 or call.round != scale.round:
        return Text("")
    ratio = f"{call.cost['seconds'] / scale.median:.1f}x"
    if _is_straggler(call, scale):
        return Text(f"{ratio} {scale.looks.mark}", "bold yellow")
    return Text(f"{ratio} {' ' * len(scale.looks.mark)}", "dim")


def _is_straggler(call: Entry, scale: _Scale) -> bool:
    return call.round == scale.round and 0 < scale.median * STRAGGLER_RATIO <= call.cost.get("seconds", 0.0)


def _status(call: Entry, scale: _Scale) -> Text:
    if call.status == LOST:
        status = Text("no reply", "bold red")
    elif call.status != OK:
        status = Text(f"failed: {printable(call.error.strip())}" if call.error else "failed", "bold red")
    else:
        status = Text("ok" if call.cost else "ok, no report", "green" if call.round == scale.round else "dim")
    status.truncate(STATUS_COLUMNS, overflow="ellipsis")
    return status


_COLUMNS = (
    _Column("node", "left", _name, 10),
    _Column("last {kind}", "right", _of("seconds", quantities.seconds), 9),
    _Column("", "left", _time_bar, 1, "seconds"),
    _Column("median", "right", _ratio, 6, "seconds"),
    _Column("CPU", "right", _of("cpu_seconds", quantities.seconds), 5, "cpu_seconds"),
    _Column("CPU %", "right", _of("cpu_usage", "{:.0f}".format), 2, "cpu_usage"),
    _Column("memory", "right", _of("memory_peak_bytes", quantities.size), 4, "memory_peak_bytes"),
    _Column("energy", "right", _of("energy_joules", quantities.joules), 7, "energy_joules"),
    _Column("round", "right", lambda call, scale: Text(str(call.round), _style(call, scale)), 3),
    _Column("status", "left", _status, 8),
)
