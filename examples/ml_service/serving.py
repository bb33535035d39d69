"""Serves the application for real, monitored, by waitress or gunicorn: `python serving.py --port 8080 --workers 2`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from heflwr.monitor import MonitorError
from heflwr.monitor.process_monitor import PrometheusMonitor

THREADS = 4
SAMPLE_SECONDS = 0.5
GRACE_SECONDS = 10.0
"""Until a gunicorn that was asked to end is killed."""


def serve_with_threads(host: str, port: int, monitor_port: int) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code. Raises OSError and MonitorError where a port is taken."""
    from service import create_app  # which loads the model: not for the process that only watches gunicorn
    from waitress.server import create_server

    server = create_server(create_app(), host=host, port=port, threads=THREADS, ident=None)
    with _monitored(monitor_port, host, os.getpid()):
        print(f"serving on http://{host}:{server.effective_port}", flush=True)
        server.run()  # returns at SystemExit and Ctrl-C, its threads ended
    return 0


def serve_with_workers(host: str, port: int, monitor_port: int, workers: int) -> int:
    """Serve as serve_with_threads(), by gunicorn.

    The monitor is in this process, not in gunicorn's: that one forks workers all its life, and must have no threads.
    """
    here = Path(__file__).parent
    options = ["--config", here / "gunicorn_conf.py", "--chdir", here, "--bind", f"{host}:{port}", "--workers", workers]
    with tempfile.TemporaryDirectory(prefix="ml-service-") as folder:  # new counters with every start
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *map(str, options), "service:create_app()"],
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": folder},
        )
        try:
            with _monitored(monitor_port, host, gunicorn.pid):
                return gunicorn.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            gunicorn.terminate()
            try:
                gunicorn.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                gunicorn.kill()
                gunicorn.wait()


@contextmanager
def _monitored(port: int, host: str, pid: int) -> Iterator[None]:
    """Measure a process and its children meanwhile."""
    with PrometheusMonitor(port=port, host=host, interval=SAMPLE_SECONDS, pid=pid) as monitor:
        print(f"process and machine on http://{host}:{monitor.port}", flush=True)
        yield


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one (default: 8080)")
    parser.add_argument("--monitor-port", type=int, default=8003, help="of process and machine metrics; 0 as well")
    parser.add_argument("--workers", type=int, default=1, help="1: waitress with threads; more: gunicorn")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    if not all(0 <= port <= 65535 for port in (options.port, options.monitor_port)):  # waitress takes 70000 for 4464
        parser.error("--port and --monitor-port must be from 0 to 65535")
    signal.signal(signal.SIGTERM, _leave)
    where = (options.host, options.port, options.monitor_port)
    try:
        if options.workers == 1:
            return serve_with_threads(*where)
        return serve_with_workers(*where, options.workers)
    except (OSError, MonitorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
