"""What can go wrong with a monitor, and whose fault it was.

    ValueError, TypeError      the caller's: a wrong argument, raised at the door by constructors and set_metrics()
    MonitorError               the machine's, raised by start()
    ├── SourceUnavailable      a metric was switched on that this machine has no source for
    ├── SinkUnavailable        a file, a port or an address that cannot be had
    └── AgentUnavailable       the child process that samples could not be started

Once started, nothing raises: a failing tick is counted in `monitor.health`, and what ended a run early is told by
`monitor.failure`.
"""


class MonitorError(RuntimeError):
    """The monitor cannot do on this machine what it was asked to do."""


class SourceUnavailable(MonitorError):
    """A metric was switched on that this machine offers no source for."""


class SinkUnavailable(MonitorError):
    """A place to write to (file, port, directory) cannot be had."""


class AgentUnavailable(MonitorError):
    """The sampling child process could not be started."""
