"""FileMonitor, PrometheusMonitor and RemoteMonitor, sampled from a thread: nothing to start, and the least overhead."""

from heflwr.monitor import _facades


class FileMonitor(_facades.FileMonitor):
    """Writes each sample to a file; sampled from a thread."""

    _runs_in = "thread"


class PrometheusMonitor(_facades.PrometheusMonitor):
    """Serves the latest sample to a Prometheus server that scrapes it; sampled from a thread."""

    _runs_in = "thread"


class RemoteMonitor(_facades.RemoteMonitor):
    """Sends samples to a collector, in batches, over HTTP or HTTPS; sampled from a thread."""

    _runs_in = "thread"


__all__ = ["FileMonitor", "PrometheusMonitor", "RemoteMonitor"]
