"""gunicorn's settings: `PROMETHEUS_MULTIPROC_DIR=/run/ml gunicorn -c gunicorn_conf.py -w 2 'service:create_app()'`."""

from __future__ import annotations

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker
from prometheus_client.multiprocess import mark_process_dead

preload_app = True
"""One model in memory, shared by all workers."""

loglevel = "warning"


def when_ready(server: Arbiter) -> None:
    """Tell where; the port may have been 0."""
    host, port = server.LISTENERS[0].sock.getsockname()[:2]
    print(f"serving on http://{host}:{port}", flush=True)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Take a dead worker's gauges off the page; its counters stay."""
    mark_process_dead(worker.pid)
