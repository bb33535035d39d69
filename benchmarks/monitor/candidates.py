"""The monitors that are compared, one class each: how it is imported, started, stopped and asked what it has sampled.

This file runs inside the watched process, which knows nothing of this package: it imports by plain names, and each
monitor's own packages only in `load()`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Candidate(Protocol):
    """One monitor. It may be started again after stop()."""

    def load(self) -> None:
        """Import what the monitor needs: this is timed."""

    def start(self, interval: float) -> None:
        """Start sampling this process every `interval` seconds."""

    def stop(self) -> None:
        """Stop sampling."""

    def count(self) -> int:
        """Return how many samples there are since start()."""

    def stamps(self) -> list[float]:
        """Return the samples' Unix times, empty where the monitor keeps none and offers no place to take them."""


class Nothing:
    """No monitor at all: what the machine's own noise looks like."""

    def load(self) -> None: ...

    def start(self, interval: float) -> None: ...

    def stop(self) -> None: ...

    def count(self) -> int:
        return 0

    def stamps(self) -> list[float]:
        return []


_ARRIVED = {"file": "samples", "remote": "sent"}
"""Where a sink's facts say how many samples have arrived; Prometheus's come when they are asked for."""


class Heflwr:
    """One of heflwr's ready-made monitors."""

    def __init__(self, runner: str, sink: str, scratch: Path) -> None:
        self._runner = runner
        self._sink = sink
        self._file = scratch / f"heflwr-{runner}-{os.getpid()}.txt"

    def load(self) -> None:
        if self._runner == "thread":
            from heflwr.monitor import thread_monitor as monitors
        else:
            from heflwr.monitor import process_monitor as monitors
        self._monitors: Any = monitors

    def start(self, interval: float) -> None:
        if self._sink == "file":
            self._monitor = self._monitors.FileMonitor(self._file, interval)
        elif self._sink == "prometheus":
            self._monitor = self._monitors.PrometheusMonitor(0, interval, host="127.0.0.1")
        else:
            self._monitor = self._monitors.RemoteMonitor(os.environ["BENCHMARK_COLLECTOR"], interval)
        self._monitor.start()

    def stop(self) -> None:
        self._monitor.stop()
        health = self._monitor.health
        if health.failure or health.errors:
            raise RuntimeError(f"heflwr failed: {health.failure or health.errors}")
        if self._sink in _ARRIVED:  # a monitor that delivers nothing is cheap, and no comparison
            (facts,) = health.sinks
            if facts[_ARRIVED[self._sink]] != health.samples or not health.samples:
                raise RuntimeError(f"heflwr took {health.samples} samples, but its sink says {facts}")

    def count(self) -> int:
        return int(self._monitor.health.samples)

    def stamps(self) -> list[float]:
        return [sample["time"] for sample in self._monitor.samples()]


class FloorLoop:
    """A bare reading in a thread that keeps a schedule."""

    def load(self) -> None:
        from floor import FloorReading

        self._read = FloorReading()

    def start(self, interval: float) -> None:
        self._stamps: list[float] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(interval,), daemon=True)
        self._thread.start()

    def _run(self, interval: float) -> None:
        rows = []
        due = time.monotonic()
        while not self._ends.is_set():
            self._stamps.append(time.time())
            rows.append(self._read())
            due += interval
            time.sleep(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()

    def count(self) -> int:
        return len(self._stamps)

    def stamps(self) -> list[float]:
        return self._stamps


class PsutilLoop:
    """The loop that everybody writes first: psutil in a thread, then wait for the interval."""

    def load(self) -> None:
        import psutil

        self._psutil: Any = psutil

    def start(self, interval: float) -> None:
        self._stamps: list[float] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(interval,), daemon=True)
        self._thread.start()

    def _run(self, interval: float) -> None:
        process = self._psutil.Process()
        rows = []
        while True:
            self._stamps.append(time.time())
            network = self._psutil.net_io_counters()
            rows.append((process.cpu_percent(), process.memory_info().rss, network.bytes_sent, network.bytes_recv))
            if self._ends.wait(interval):
                break

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()

    def count(self) -> int:
        return len(self._stamps)

    def stamps(self) -> list[float]:
        return self._stamps


class Codecarbon:
    """codecarbon's offline tracker of this process, writing nowhere."""

    def load(self) -> None:
        from codecarbon import OfflineEmissionsTracker

        self._tracker_class: Any = OfflineEmissionsTracker

    def start(self, interval: float) -> None:
        self._stamps: list[float] = []
        stamps = self._stamps

        class Stamped(self._tracker_class):  # the only place to see a sample being taken
            def _do_measurements(self) -> None:
                stamps.append(time.time())
                super()._do_measurements()

        self._tracker = Stamped(
            country_iso_code="FRA",
            measure_power_secs=interval,
            tracking_mode="process",
            save_to_file=False,
            allow_multiple_runs=True,
            log_level="critical",
        )
        self._tracker.start()

    def stop(self) -> None:
        self._tracker.stop()

    def count(self) -> int:
        return len(self._stamps)

    def stamps(self) -> list[float]:
        return self._stamps


_SAME_METRICS = {
    "process.cpu.time": ["user", "system"],
    "process.memory.usage": None,
    "system.network.io": ["transmit", "receive"],
}
"""OpenTelemetry's names for what heflwr reads by default."""


class OpenTelemetry:
    """OpenTelemetry's system metrics, exported to nowhere at the interval."""

    def __init__(self, only_the_same: bool) -> None:
        self._config = _SAME_METRICS if only_the_same else None

    def load(self) -> None:
        from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
        from opentelemetry.sdk.metrics import MeterProvider, export

        self._instrumentor_class, self._provider_class, self._export = SystemMetricsInstrumentor, MeterProvider, export

    def start(self, interval: float) -> None:
        self._stamps: list[float] = []
        stamps, export = self._stamps, self._export

        class Nowhere(export.MetricExporter):
            def export(self, data: object, timeout_millis: float = 0, **kwargs: object) -> object:
                stamps.append(time.time())
                return export.MetricExportResult.SUCCESS

            def force_flush(self, timeout_millis: float = 0) -> bool:
                return True

            def shutdown(self, timeout_millis: float = 0, **kwargs: object) -> None: ...

        reader = export.PeriodicExportingMetricReader(Nowhere(), export_interval_millis=interval * 1000)
        self._provider = self._provider_class([reader])
        options = {} if self._config is None else {"config": self._config}
        self._instrumentor = self._instrumentor_class(**options)
        self._instrumentor.instrument(meter_provider=self._provider)

    def stop(self) -> None:
        self._instrumentor.uninstrument()
        self._provider.shutdown()

    def count(self) -> int:
        return len(self._stamps)

    def stamps(self) -> list[float]:
        return self._stamps


class Psrecord:
    """psrecord: a command of its own that watches this process (its children too) and logs to a file."""

    def __init__(self, scratch: Path) -> None:
        self._log = scratch / f"psrecord-{os.getpid()}.txt"

    def load(self) -> None:
        """Nothing is imported here: it is a command."""

    def start(self, interval: float) -> None:
        self._log.write_text("")
        command = [sys.executable, "-m", "psrecord", str(os.getpid()), "--include-children"]
        command += ["--interval", str(interval), "--log", str(self._log)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not self.count():  # started is when the first line is there
            if self._process.poll() is not None:
                raise RuntimeError(f"psrecord ended with code {self._process.returncode}")
            time.sleep(0.001)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def count(self) -> int:
        return max(0, self._log.read_text().count("\n") - 1)

    def stamps(self) -> list[float]:
        return []


class Ancestor:
    """heflwr 0.1.9. Its package imports torch on the way to its monitors: that is left out here, in its favour."""

    def __init__(self, runner: str, scratch: Path) -> None:
        self._runner = runner
        self._file = scratch / f"ancestor-{runner}-{os.getpid()}.txt"

    def load(self) -> None:
        package = types.ModuleType("heflwr")
        package.__path__ = [str(Path(os.environ["BENCHMARK_ANCESTOR"], "heflwr"))]
        sys.modules["heflwr"] = package
        if self._runner == "thread":
            from heflwr.monitor import thread_monitor as monitors
        else:
            from heflwr.monitor import process_monitor as monitors
        self._monitors: Any = monitors

    def start(self, interval: float) -> None:
        self._monitor = self._monitors.FileMonitor(str(self._file), interval)
        self._monitor.start()

    def stop(self) -> None:
        self._monitor.stop()

    def count(self) -> int:
        return len(self._monitor.stats()["network_bytes_recv"])

    def stamps(self) -> list[float]:
        return []


@dataclass(frozen=True)
class Entry:
    """A line of the table of candidates.

    Attributes:
        label: What the reports call it.
        home: Whose packages it needs: "own", "peers" or "ancestor".
        build: Makes the candidate, given a directory to write to.
        warm_seconds: What it needs after start() until it samples steadily.
        module: What a user imports, for the import time; empty where that cannot be told.
    """

    label: str
    home: str
    build: Callable[[Path], Candidate]
    warm_seconds: float = 0.5
    module: str = ""


_ANCESTOR_WARM_SECONDS = 6.0
"""Its first reading of the network sleeps five seconds."""

CANDIDATES: dict[str, Entry] = {
    "floor": Entry("floor (bare /proc loop)", "own", lambda scratch: FloorLoop()),
    "heflwr-thread": Entry(
        "heflwr, thread", "own", lambda scratch: Heflwr("thread", "file", scratch), module="heflwr.monitor"
    ),
    "heflwr-process": Entry(
        "heflwr, process",
        "own",
        lambda scratch: Heflwr("process", "file", scratch),
        module="heflwr.monitor.process_monitor",
    ),
    "psutil": Entry("psutil loop", "own", lambda scratch: PsutilLoop(), module="psutil"),
    "codecarbon": Entry("codecarbon", "peers", lambda scratch: Codecarbon(), 1.0, "codecarbon"),
    "opentelemetry": Entry(
        "OpenTelemetry, default",
        "peers",
        lambda scratch: OpenTelemetry(only_the_same=False),
        module="opentelemetry.instrumentation.system_metrics, opentelemetry.sdk.metrics",
    ),
    "opentelemetry-same": Entry("OpenTelemetry, 3 metrics", "peers", lambda scratch: OpenTelemetry(only_the_same=True)),
    "psrecord": Entry("psrecord", "peers", Psrecord),
    "ancestor-thread": Entry(
        "heflwr 0.1.9, thread", "ancestor", lambda scratch: Ancestor("thread", scratch), _ANCESTOR_WARM_SECONDS
    ),
    "ancestor-process": Entry(
        "heflwr 0.1.9, process", "ancestor", lambda scratch: Ancestor("process", scratch), _ANCESTOR_WARM_SECONDS
    ),
}
"""Compared with each other; the first is what the others are held against."""

SINKS: dict[str, Entry] = {
    f"heflwr-{runner}-{sink}": Entry(
        f"heflwr, {runner}, {sink}", "own", lambda scratch, r=runner, s=sink: Heflwr(r, s, scratch)
    )
    for runner in ("thread", "process")
    for sink in ("prometheus", "remote")
}
"""heflwr's other destinations, for their memory."""

NOTHING = Entry("no monitor", "own", lambda scratch: Nothing())

ENTRIES: dict[str, Entry] = {"nothing": NOTHING, **CANDIDATES, **SINKS}
