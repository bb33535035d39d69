"""Samples in a file: text for people, JSON lines or CSV for programs. Each run begins with a header of its own.

A line is one write() to a file opened for appending: lines of several processes never mix, and a killed process leaves
whole lines only. A line that a full disk cuts short is taken back; one that a former writer left is closed off.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heflwr.monitor import arguments
from heflwr.monitor.errors import SinkUnavailable
from heflwr.monitor.metrics import Metric
from heflwr.monitor.sample import Run, Sample

HEADER = "heflwr run"
"""How the line begins that opens a run (after "# " in text and CSV; as the key "type" in JSON lines)."""

LOOK_SECONDS = 1.0
"""How often to look whether the file was deleted: so many seconds of samples may go with it."""

_FLAGS = os.O_APPEND | os.O_CREAT
for _name in ("O_CLOEXEC", "O_BINARY", "O_NONBLOCK"):  # where there are such; a pipe without a reader must not hang us
    _FLAGS |= getattr(os, _name, 0)

_UNITS = {"percent": "%", "bytes": "B", "seconds": "s", "milliwatts": "mW", "millijoules": "mJ", "joules": "J"}


class FileSink:
    """Appends one line a sample to a file."""

    flush_seconds = 0.0

    def __init__(self, file: str | os.PathLike[str], *, format: str = "text") -> None:
        """Remember where to write.

        Args:
            file: Path; created where it does not exist, appended to where it does.
            format: "text" (readable), "jsonl" (a JSON object a line) or "csv" (a comment and a row of names a run).

        Raises:
            ValueError: Another format, or what cannot be a path.
        """
        self._path = Path(file).absolute()
        if "\0" in str(self._path):
            raise ValueError(f"file must be a path, got {file!r} with a NUL in it")
        self._format = arguments.choice("format", format, tuple(_FORMATS))
        self._descriptor = -1

    def open(self, run: Run) -> None:
        self._run = run
        self._written = 0
        self._look_at = 0.0
        self._head, self._line = _FORMATS[self._format](run)
        try:
            self._take_file()
        except OSError as error:
            raise SinkUnavailable(
                f"cannot write {self._path}: {error.strerror}; choose another file, or create its directory"
            ) from error

    def write(self, sample: Sample) -> None:
        if self._descriptor < 0 or (sample.elapsed >= self._look_at and self._is_deleted(sample.elapsed)):
            self.close()  # deleted, or its directory was, or its header did not fit: begin anew if that can be done
            self._take_file()
        self._append(self._line(sample))
        self._written += 1

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def facts(self) -> dict[str, Any]:
        return {"sink": "file", "file": str(self._path), "samples": self._written}

    def _is_deleted(self, elapsed: float) -> bool:
        self._look_at = elapsed + LOOK_SECONDS
        return os.fstat(self._descriptor).st_nlink == 0

    def _take_file(self) -> None:
        can_read = True
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | _FLAGS, 0o666)
        except PermissionError:  # perhaps only reading is forbidden: then the last line passes for whole
            self._descriptor = os.open(self._path, os.O_WRONLY | _FLAGS, 0o666)
            can_read = False
        try:
            self._is_torn = can_read and _ends_torn(self._descriptor)
            self._append(self._head)
        except BaseException:  # no rows without their header: the next write() begins again
            self.close()
            raise

    def _append(self, text: str) -> None:
        data = text.encode()
        if self._is_torn:
            data = b"\n" + data
        written = os.write(self._descriptor, data)
        if written == len(data):
            self._is_torn = False
        else:
            self._take_back(written)
            raise OSError(errno.ENOSPC, f"full, only {written} of {len(data)} bytes fitted", str(self._path))

    def _take_back(self, written: int) -> None:
        """Cut off the part of a line that still fitted: a number cut short reads like another number."""
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if os.fstat(self._descriptor).st_size == end:  # nobody has written behind us
            os.ftruncate(self._descriptor, end - written)
        else:
            self._is_torn = False  # the line that came behind ours closed it


def _ends_torn(descriptor: int) -> bool:
    """Return True where the file's last line has no end: the writer before us was cut off."""
    if os.fstat(descriptor).st_size == 0:  # so it is for a pipe or a terminal, which have no end to look at
        return False
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) != b"\n"


def _stamp(unix: float) -> str:
    """Return local time with its zone, to the millisecond (RFC 3339)."""
    minute, milliseconds = divmod(int(unix * 1000), 60_000)
    start, zone = _minute(minute)
    return f"{start}{milliseconds / 1000:06.3f}{zone}"


@functools.lru_cache(maxsize=1)
def _minute(minute: int) -> tuple[str, str]:
    """Return how a minute since 1970 begins in local time, and its zone; zones differ by whole minutes."""
    local = time.localtime(minute * 60)
    sign = "-" if local.tm_gmtoff < 0 else "+"
    hours, minutes = divmod(abs(local.tm_gmtoff) // 60, 60)
    return time.strftime("%Y-%m-%dT%H:%M:", local), f"{sign}{hours:02}:{minutes:02}"


def _about(run: Run) -> dict[str, Any]:
    return {
        "run": run.run,
        "identifier": run.identifier,
        "host": run.host,
        "pid": run.pid,
        "started": _stamp(run.started),
        "interval": run.interval,
        "units": {metric.name: metric.unit for metric in run.metrics},
        "sources": run.sources,
        "limits": run.limits,
        **run.versions,
    }


_Layout = tuple[str, Callable[[Sample], str]]


def _columns(shown: Sequence[str], missing: Sequence[str]) -> Callable[[tuple[float, ...]], str]:
    """Return what writes a sample's values: each as `shown` says (a %-format), or as `missing` does where it is NaN."""
    every = "".join(shown)

    def columns(values: tuple[float, ...]) -> str:
        known = [value for value in values if value == value]
        layout = every
        if len(known) < len(values):
            layout = "".join([shown[at] if value == value else missing[at] for at, value in enumerate(values)])
        return layout % tuple(known)

    return columns


def _text(run: Run) -> _Layout:
    units = [_UNITS.get(metric.unit, "").replace("%", "%%") for metric in run.metrics]
    shown = [
        f"  {metric.name} {'%.0f' if metric.whole else '%.6g'} {unit}".rstrip()
        for metric, unit in zip(run.metrics, units, strict=True)
    ]
    columns = _columns(shown, [""] * len(shown))

    def line(sample: Sample) -> str:
        return f"{_stamp(sample.time)}{columns(sample.values)}\n"

    return f"# {HEADER} {json.dumps(_about(run))}\n", line


def _jsonl(run: Run) -> _Layout:
    names = [f', "{metric.name}": ' for metric in run.metrics]
    columns = _columns(
        [name + _plain(metric) for name, metric in zip(names, run.metrics, strict=True)],
        [f"{name}null" for name in names],
    )

    def line(sample: Sample) -> str:
        head = f'{{"run": "{run.run}", "sequence": {sample.sequence}, "time": "{_stamp(sample.time)}"'
        return f'{head}, "elapsed": {sample.elapsed:.6f}{columns(sample.values)}}}\n'

    return json.dumps({"type": HEADER, **_about(run)}) + "\n", line


def _csv(run: Run) -> _Layout:
    columns = _columns([f",{_plain(metric)}" for metric in run.metrics], [","] * len(run.metrics))
    names = ",".join(["run", "sequence", "time", "elapsed", *(metric.name for metric in run.metrics)])

    def line(sample: Sample) -> str:
        return f"{run.run},{sample.sequence},{_stamp(sample.time)},{sample.elapsed:.6f}{columns(sample.values)}\n"

    return f"# {HEADER} {json.dumps(_about(run))}\n{names}\n", line


def _plain(metric: Metric) -> str:
    """Return the format that loses nothing: `Metric.plain` for %-formatting."""
    return "%d" if metric.whole else "%s"


_FORMATS: dict[str, Callable[[Run], _Layout]] = {"text": _text, "jsonl": _jsonl, "csv": _csv}
