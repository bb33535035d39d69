"""FileMonitor, PrometheusMonitor and RemoteMonitor, sampled from a thread: nothing to start, and the least overhead."""

from heflwr.monitor import _facades


class FileMonitor(_facades.FileMonitor):
    __doc__ = _facades.FileMonitor.__doc__
    _runs_in = "thread"


class PrometheusMonitor(_facades.PrometheusMonitor):
    __doc__ = _facades.PrometheusMonitor.__doc__
    _runs_in = "thread"


class RemoteMonitor(_facades.RemoteMonitor):
    __doc__ = _facades.RemoteMonitor.__doc__
    _runs_in = "thread"


__all__ = ["FileMonitor", "PrometheusMonitor", "RemoteMonitor"]
