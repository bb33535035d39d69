"""FileMonitor, PrometheusMonitor and RemoteMonitor, sampled from a child process, apart from the interpreter lock of what they measure."""

from heflwr.monitor import _facades


class FileMonitor(_facades.FileMonitor):
    __doc__ = _facades.FileMonitor.__doc__
    _runs_in = "process"


class PrometheusMonitor(_facades.PrometheusMonitor):
    __doc__ = _facades.PrometheusMonitor.__doc__
    _runs_in = "process"


class RemoteMonitor(_facades.RemoteMonitor):
    __doc__ = _facades.RemoteMonitor.__doc__
    _runs_in = "process"


__all__ = ["FileMonitor", "PrometheusMonitor", "RemoteMonitor"]
