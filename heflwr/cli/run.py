"""`heflwr run`: start a command, watch it from here, pass its signals and exit code through, sum up at the end."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from heflwr.cli.command import CannotRun, HeldCommand, Outcome, StartedCommand, hold
from heflwr.monitor import Aggregate, Monitor, MonitorError
from heflwr.monitor.metrics import GROUPS, METRICS, Kind, Metric
from heflwr.monitor.sinks import Sink
from heflwr.monitor.sinks.file import FileSink
from heflwr.quantities import mebibytes, quantity

NOT_MEASURED = 125
"""Exit code when the command was not started, because of us: what `env` and `timeout` use for themselves."""

_ENDINGS = {".jsonl": "jsonl", ".csv": "csv"}
"""The format that a file's ending asks for; any other asks for text."""

_DEFAULT_FILES = {"text": "log.txt", "jsonl": "log.jsonl", "csv": "log.csv"}

_FROM_TERMINAL = ("SIGINT", "SIGQUIT")
"""Signals that a terminal sends to the whole foreground group: the command has had them already."""

_FORWARDED = (*_FROM_TERMINAL, "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")

_HISTORY = 1
"""Samples to keep: the summary counts all of them, and nobody asks for one again."""


def run(
    words: Sequence[str],
    *,
    file: str | None = None,
    format: str | None = None,
    interval: float = 1.0,
    groups: set[str],
    is_quiet: bool = False,
    identifier: str | None = None,
    sinks: Sequence[Sink] = (),
) -> int:
    """Run a command and measure it.

    Args:
        words: The command and its arguments, at least one word.
        file: Where every sample is appended to; without it nowhere, unless `format` is given.
        format: "text", "jsonl" or "csv"; default by the ending of `file`.
        interval: Seconds between samples.
        groups: The metric groups to measure.
        is_quiet: Write nothing but errors.
        identifier: What is measured, for those who read the samples; default the command's name.
        sinks: Where samples go, too.

    Returns:
        The command's exit code; 128 + n where the signal n ended it, 126 and 127 where it could not be executed, 125
        where it was not started because it could not be measured.
    """
    path = _path(file, format)
    all_sinks = list(sinks)
    if path is not None:
        all_sinks.append(FileSink(path, format=format or _ENDINGS.get(path.suffix.lower(), "text")))
    if not is_quiet:
        all_sinks += _live_line()
    try:
        _rehearse(interval, groups, path)
        command = hold(words)
    except CannotRun as error:
        _say(str(error))
        return error.exit_code
    except (MonitorError, ValueError, OSError) as error:
        _say(str(error))
        return NOT_MEASURED

    monitor = _monitor(all_sinks, interval, groups, command.pid, identifier or os.path.basename(words[0]))
    with _forwarding_signals(command):
        try:
            monitor.start()
        except MonitorError as error:
            command.abandon()
            _say(str(error))
            return NOT_MEASURED
        if not is_quiet:
            _tell_addresses(monitor)
        begun = time.monotonic()
        try:
            command.release()
        except CannotRun as error:
            monitor.stop()
            _say(str(error))
            return error.exit_code
        command.wait()
        seconds = time.monotonic() - begun
        monitor.stop()
        outcome = command.reap()
    _complain(monitor)
    if not is_quiet:
        _print_summary(words, monitor, outcome, seconds, path)
    return outcome.exit_code


def _path(file: str | None, format: str | None) -> Path | None:
    if file is not None:
        return Path(file)
    return None if format is None else Path(_DEFAULT_FILES[format])


def _live_line() -> list[Sink]:
    if sys.stderr is None or not sys.stderr.isatty():
        return []
    if importlib.util.find_spec("rich") is None:
        _say("for a live line, install rich: pip install 'heflwr[console]'")
        return []
    from heflwr.cli.live import LiveLine, can_draw

    return [LiveLine(sys.stderr)] if can_draw(sys.stderr) else []


def _rehearse(interval: float, groups: set[str], path: Path | None) -> None:
    """Find out on ourselves whether this can be measured and written, before any command is made."""
    monitor = _monitor([], interval, groups, os.getpid(), "rehearsal")
    monitor.start()
    monitor.stop()
    if path is not None:
        try:
            path.open("ab").close()
        except OSError as error:
            raise MonitorError(
                f"cannot write {path}: {error.strerror}; choose another file, or create its directory"
            ) from error


def _monitor(sinks: list[Sink], interval: float, groups: set[str], pid: int, name: str) -> Monitor:
    monitor = Monitor(sinks, interval=interval, runner="thread", pid=pid, identifier=name, history=_HISTORY)
    monitor.set_metrics(**{group: group in groups for group in GROUPS})
    return monitor


@contextmanager
def _forwarding_signals(command: HeldCommand | StartedCommand) -> Iterator[None]:
    """Hand signals on to the command, and live until it has ended."""

    def forward(number: int, frame: FrameType | None) -> None:
        if signal.Signals(number).name in _FROM_TERMINAL and _is_in_foreground():
            return
        with suppress(ProcessLookupError):
            command.signal(number)

    numbers = [getattr(signal, name) for name in _FORWARDED if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if before[number] is not signal.SIG_IGN]  # ignored, as by nohup: stays so
    for number in taken:
        signal.signal(number, forward)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _is_in_foreground() -> bool:
    """Return True where we belong to the group that the terminal sends its signals to."""
    if not hasattr(os, "tcgetpgrp"):  # Windows: the console sends Ctrl-C to all its processes
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _complain(monitor: Monitor) -> None:
    health = monitor.health
    for part, count in health.errors.items():
        _say(f"{part} failed {count} times; the last error was {health.last_error}")
    for facts in health.sinks:
        if lost := facts.get("dropped", 0):
            _say(f"{lost} of {health.samples} samples did not reach {facts['url']}: {facts['last_error']}")


def _tell_addresses(monitor: Monitor) -> None:
    """Say where metrics are served; the port may have been 0."""
    for facts in monitor.health.sinks:
        if facts["sink"] == "prometheus":
            _say(f"metrics on {facts['url']}")


def _print_summary(words: Sequence[str], monitor: Monitor, outcome: Outcome, seconds: float, path: Path | None) -> None:
    health = monitor.health
    aggregates = monitor.describe()
    rows = [("", "total", "mean", "peak"), ("wall time", quantity(seconds, "seconds"), "", "")]
    for metric in METRICS:
        if metric.name in aggregates:
            rows.append((metric.name.replace("_", " "), *_cells(metric, aggregates[metric.name], outcome, seconds)))
    label = max(len(row[0]) for row in rows)
    lines = [f"heflwr: {shlex.join(words)}: exit code {outcome.exit_code}"]
    lines += [f"  {row[0]:{label}}" + "".join(f"  {cell:>11}" for cell in row[1:]) for row in rows]
    lines += [f"  {group}: {source}" for group, source in health.sources.items()]
    if path is not None:
        lines.append(f"  samples ({health.samples}) in {path}; draw them with: heflwr plot {shlex.quote(str(path))}")
    _print("\n".join(line.rstrip() for line in lines))


def _cells(metric: Metric, aggregate: Aggregate, outcome: Outcome, seconds: float) -> tuple[str, str, str]:
    """Return total, mean and peak of one metric, "" where that means nothing."""
    unit = metric.unit
    if metric.name == "cpu_seconds":
        return quantity(max(aggregate.total, outcome.cpu_seconds or 0.0), unit), "", ""
    if metric.name == "memory_bytes":
        return "", mebibytes(aggregate.mean), mebibytes(max(aggregate.maximum, outcome.peak_bytes or 0))
    if metric.kind is Kind.DELTA:
        rate = quantity(aggregate.total / seconds, unit, "/s") if unit == "bytes" and seconds > 0 else ""
        return quantity(aggregate.total, unit), rate, ""
    return "", quantity(aggregate.mean, unit), quantity(aggregate.maximum, unit)


def _say(text: str) -> None:
    _print(f"heflwr: {text}")


def _print(text: str) -> None:
    """Print where it does not mix with the command's output; a closed or full stderr must not cost its exit code."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)
