"""Power and energy: a file a source, one table of boards and rails, one way to integrate."""

from __future__ import annotations

from heflwr.monitor.probes.power.probe import PowerProbe

__all__ = ["PowerProbe"]
