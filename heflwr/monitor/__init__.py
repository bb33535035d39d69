"""Measure what a process really costs: CPU, memory, network, disk, GPU, power and energy.

`heflwr.monitor.process_monitor` and `heflwr.monitor.thread_monitor` hold the six ready-made monitors; `Monitor` takes
any sinks and any runner.
"""

from heflwr.monitor.errors import AgentUnavailable, MonitorError, SinkUnavailable, SourceUnavailable
from heflwr.monitor.health import Health
from heflwr.monitor.monitor import Monitor
from heflwr.monitor.summary import Aggregate
from heflwr.monitor.window import Window

__all__ = [
    "AgentUnavailable",
    "Aggregate",
    "Health",
    "Monitor",
    "MonitorError",
    "SinkUnavailable",
    "SourceUnavailable",
    "Window",
]
