"""What an agent knows of its machine, a mapping a tick: the metrics that are watched, and numbers from a file."""

from __future__ import annotations

import json
import math
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heflwr.monitor import Monitor
from heflwr.monitor.metrics import GROUPS, METRICS

if TYPE_CHECKING:
    from heflwr.monitor.sample import Run, Sample

WHOLE_MACHINE = 1
"""Everything descends from this process: the machine, or inside a container the container."""

MOST_WAITING = 1000
"""Samples that may wait to be taken; the oldest are dropped."""

MOST_BYTES = 1 << 20
"""Of the file with numbers."""

_GROUP_OF = {metric.name: metric.group for metric in METRICS}


class Sampler:
    """Samples between `start` and `stop`; `take` gives what has come since.

    Args:
        metrics: What samples must hold: a monitor's, or numbers of the file.
        interval: Seconds between samples.
        pid: The process to watch with its descendants; None: the whole machine.
        values: JSON file with an object of numbers, read at each sample; they count as long as they are there.

    Raises:
        ValueError: A metric comes from nowhere, or there is no pid for the whole machine on this system.
    """

    def __init__(
        self, metrics: tuple[str, ...], interval: float, pid: int | None = None, values: Path | None = None
    ) -> None:
        foreign = [metric for metric in metrics if metric not in _GROUP_OF]
        if foreign and values is None:
            raise ValueError(
                f"no probe reads {foreign[0]!r}: write it to a JSON file, and give --values FILE (values=); probes "
                f"read {', '.join(_GROUP_OF)}"
            )
        if pid is None and not sys.platform.startswith("linux"):
            raise ValueError("on this system the whole machine cannot be watched; give --pid PID (pid=)")
        groups = {_GROUP_OF[metric] for metric in metrics if metric in _GROUP_OF} or {"cpu"}
        self._inbox = _Inbox()
        self._monitor = Monitor([self._inbox], interval=interval, runner="thread", pid=pid or WHOLE_MACHINE, history=1)
        self._monitor.set_metrics(**{group: group in groups for group in GROUPS})
        self._values = values
        self._numbers: dict[str, float] = {}
        self._seen: tuple[int, int] | None = None
        self.values_problem = ""
        """Why the file cannot be read; "" where it can."""

    @property
    def failure(self) -> str:
        """Why nothing is sampled any more; "" while it is."""
        return self._monitor.failure

    def start(self) -> None:
        """Begin; raises MonitorError where a metric cannot be had."""
        self._monitor.start()

    def stop(self) -> None:
        """End."""
        self._monitor.stop()

    def take(self) -> list[Mapping[str, float | int | None]]:
        """Return the samples that have come since this was asked before."""
        taken: list[Mapping[str, float | int | None]] = []
        while self._inbox.records:
            record = self._inbox.records.popleft()
            taken.append(record if self._values is None else {**record, **self._read(self._values)})
        return taken

    def _read(self, path: Path) -> dict[str, float]:
        """Return the numbers in the file; none where it is not there or holds something else."""
        try:
            fact = path.stat()
            if self._seen != (fact.st_mtime_ns, fact.st_size):
                self._numbers = {}
                self._numbers = _numbers(path)
                self._seen = fact.st_mtime_ns, fact.st_size
            self.values_problem = ""
        except (OSError, ValueError) as error:
            self._numbers, self._seen = {}, None
            self.values_problem = f"{path}: {error}"
        return self._numbers


class _Inbox:
    """A sink: from the monitor's thread to the agent's."""

    flush_seconds = 0.0

    def __init__(self) -> None:
        self.records: deque[dict[str, float | int | None]] = deque(maxlen=MOST_WAITING)

    def open(self, run: Run) -> None:
        self._run = run

    def write(self, sample: Sample) -> None:
        if sample.sequence or sample.elapsed >= self._run.interval / 2:  # the first one is of some milliseconds
            self.records.append(sample.record(self._run.metrics))

    def close(self) -> None:
        pass

    def facts(self) -> dict[str, Any]:
        return {"sink": "live"}


def _numbers(path: Path) -> dict[str, float]:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"a file with numbers has at most {MOST_BYTES} bytes")
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object of numbers is expected, got {type(found).__name__}")
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name!r} must be a finite number, got {value!r}")
    return found
