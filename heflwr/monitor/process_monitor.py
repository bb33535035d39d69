"""FileMonitor, PrometheusMonitor and RemoteMonitor, sampled from a child process."""

from heflwr.monitor import _facades


class FileMonitor(_facades.FileMonitor):
    """Writes each sample to a file; sampled from a child process."""

    _runs_in = "process"


class PrometheusMonitor(_facades.PrometheusMonitor):
    """Serves the latest sample to a Prometheus server that scrapes it; sampled from a child process."""

    _runs_in = "process"


class RemoteMonitor(_facades.RemoteMonitor):
    """Sends samples to a collector, in batches, over HTTP or HTTPS; sampled from a child process."""

    _runs_in = "process"


__all__ = ["FileMonitor", "PrometheusMonitor", "RemoteMonitor"]
