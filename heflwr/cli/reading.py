"""Reads back what FileSink wrote: text, JSON lines or CSV, several runs in one file, torn and foreign lines counted.

JSON lines and CSV say on each line whose it is, so that runs written at the same time are told apart. Text does not:
its lines belong to the header above them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from heflwr.monitor.sinks.file import HEADER

_TEXT_HEADER = f"# {HEADER} "
_CSV_NAMES = "run,sequence,time,elapsed"
_STAMPS = ("run", "sequence", "time", "elapsed")
_UNITLESS = "count"
_MISSING = float("nan")


@dataclass(slots=True)
class RunLog:
    """One run as a file tells it.

    Attributes:
        run: Its id.
        about: What its header says: identifier, host, pid, started, interval, units, sources and more.
        elapsed: Seconds since the run's start, one a sample, in the file's order.
        columns: Each metric's values, as long as `elapsed`, NaN where missing.
    """

    run: str
    about: dict[str, Any]
    elapsed: list[float] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=dict)

    @property
    def identifier(self) -> str:
        """Who was measured, "" where the header was lost."""
        return str(self.about.get("identifier", ""))

    @property
    def started(self) -> datetime | None:
        """When the run began, with its zone; None where the header was lost."""
        stamp = self.about.get("started")
        return datetime.fromisoformat(stamp) if isinstance(stamp, str) else None

    @property
    def when(self) -> str:
        """When the run began, for people; "" where the header was lost."""
        return self.started.strftime("%Y-%m-%d %H:%M:%S %z") if self.started else ""

    def add(self, elapsed: float, values: dict[str, float]) -> None:
        """Append a sample."""
        for name in values:
            self.columns.setdefault(name, [_MISSING] * len(self.elapsed))
        self.elapsed.append(elapsed)
        for name, column in self.columns.items():
            column.append(values.get(name, _MISSING))


@dataclass(frozen=True, slots=True)
class Log:
    """A file of samples.

    Attributes:
        runs: In the order in which they began in the file.
        bad_lines: Lines that are no whole sample or header: torn by a full disk or a crash, or not ours.
    """

    runs: list[RunLog]
    bad_lines: int


def read_log(path: Path) -> Log:
    """Read a file of samples, in whichever format each line is.

    Raises:
        OSError: The file cannot be read.
    """
    reading = _Reading()
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            reading.take(line)
    return Log(list(reading.runs.values()), reading.bad_lines)


class _Reading:
    """Takes a file line by line."""

    def __init__(self) -> None:
        self.runs: dict[str, RunLog] = {}
        self.bad_lines = 0
        self._latest: RunLog | None = None

    def take(self, line: str) -> None:
        if not line.strip() or line.startswith(_CSV_NAMES):
            return
        try:
            if not line.endswith("\n"):
                raise ValueError("the line has no end: its last number may be cut off")
            if line.startswith(_TEXT_HEADER):
                self._begin(json.loads(line.removeprefix(_TEXT_HEADER)))
            elif line.startswith("{"):
                self._take_object(json.loads(line))
            elif ", " not in line and line.partition(",")[0] in self.runs:
                self._take_cells(line.rstrip("\n").split(","))
            else:
                self._take_text(line)
        except (ValueError, TypeError, LookupError, AttributeError):  # whatever a line can be that is not ours
            self.bad_lines += 1

    def _begin(self, about: dict[str, Any]) -> None:
        self._latest = self._of(str(about["run"]))
        self._latest.about = about
        for name in about["units"]:
            self._latest.columns.setdefault(name, [_MISSING] * len(self._latest.elapsed))

    def _of(self, run: str) -> RunLog:
        return self.runs.setdefault(run, RunLog(run, {}))

    def _take_object(self, row: dict[str, Any]) -> None:
        if row.get("type") == HEADER:
            self._begin(row)
            return
        values = {name: _number(value) for name, value in row.items() if name not in _STAMPS}
        elapsed = float(row["elapsed"])
        self._of(str(row["run"])).add(elapsed, values)

    def _take_cells(self, cells: list[str]) -> None:
        log = self.runs[cells[0]]
        names = list(log.about["units"])
        numbers = [_number(cell or None) for cell in cells[len(_STAMPS) :]]
        log.add(float(cells[3]), dict(zip(names, numbers, strict=True)))

    def _take_text(self, line: str) -> None:
        stamp, _, rest = line.rstrip("\n").partition("  ")
        log = self._latest
        if log is None or log.started is None:
            raise ValueError("a sample without a header")
        elapsed = (datetime.fromisoformat(stamp) - log.started).total_seconds()
        values = dict(_text_values(rest, log.about["units"]))
        log.add(max(0.0, elapsed), values)


def _text_values(rest: str, units: dict[str, str]) -> Iterator[tuple[str, float]]:
    for part in rest.split("  "):
        name, number, *unit = part.split(" ")
        if any(unit) == (units[name] == _UNITLESS):
            raise ValueError(f"{name} is cut off: its unit is missing")
        yield name, float(number)


def _number(value: Any) -> float:
    return _MISSING if value is None else float(value)
