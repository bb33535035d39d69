"""Where a Jetson board's own power is read: its sensors in sysfs, or else tegrastats."""

from __future__ import annotations

from collections.abc import Iterator

from heflwr.monitor.probes.power.ina3221 import Ina3221
from heflwr.monitor.probes.power.metering import Source
from heflwr.monitor.probes.power.tegrastats import Child, Tegrastats


def board_sources(sys: str | None, child: Child) -> Iterator[Source]:
    """Return what may tell the board's rails, best first.

    Args:
        sys: Where sysfs is, None where there is none.
        child: The tegrastats to share.
    """
    if sys is not None:
        yield Ina3221(sys)
    yield Tegrastats(child)
