"""What to measure, of whom, how often and where to: one value that a thread or a child process can carry out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from heflwr.monitor.metrics import Metric, in_groups
from heflwr.monitor.probes import Probe
from heflwr.monitor.probes.limits import Limits, read_limits
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.probes.tree import Tree
from heflwr.monitor.sinks import Sink

if TYPE_CHECKING:
    from heflwr.monitor.probes.power.tegrastats import Child


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that start() decided.

    Attributes:
        pid: The process to watch, with its descendants.
        interval: Seconds between samples.
        groups: Which metric groups are on.
        sinks: Where samples go, not open yet.
        identifier: Who is measured.
        run: Random id of this start().
        network: "host" (interface counters) or "process" (TCP bytes of the process tree's own sockets).
        interfaces: Interfaces that count, None for all but loopback.
        loopback: Count the loopback interface too.
        relative_to: "machine" or "limit": what 100 % of cpu_usage and memory_usage means.
        machine: Where the operating system's files are.
    """

    pid: int
    interval: float
    groups: dict[str, bool]
    sinks: tuple[Sink, ...]
    identifier: str
    run: str
    network: str
    interfaces: tuple[str, ...] | None
    loopback: bool
    relative_to: str
    machine: Machine

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The columns of every sample."""
        return in_groups(self.groups)

    def limits(self) -> Limits:
        """Read what the container allows."""
        return read_limits(self.machine, self.pid)

    def cpu_cores(self, limits: Limits) -> float:
        """Return what 100 % of cpu_usage is, in cores."""
        limit = limits.cpu_cores if self.relative_to == "limit" else None
        return limit or self.machine.cpu_count()

    def tree(self) -> Tree:
        """Build the reader of the process tree."""
        if self.machine.proc is None:
            from heflwr.monitor.probes.tree_psutil import PsutilTree

            return PsutilTree(self.pid)
        from heflwr.monitor.probes.tree_linux import LinuxTree

        return LinuxTree(self.pid, self.machine.proc, self.machine.has_cpu_clocks)

    def probes(self, tree: Tree, limits: Limits) -> tuple[Probe, ...]:
        """Build a probe for each group that is on, in the metric table's order. Only their modules are imported."""
        groups = dict.fromkeys(metric.group for metric in self.metrics)
        shared = _Shared(self.interval)
        return tuple(_BUILDERS[group](self, tree, limits, shared) for group in groups)


class _Shared:
    """What several probes of one run have in common, made when the first of them asks."""

    def __init__(self, interval: float) -> None:
        self._interval = interval

    @cached_property
    def tegrastats(self) -> Child:
        """The one child that tells a board's power."""
        from heflwr.monitor.probes.power.tegrastats import Child

        return Child(self._interval)


def _cpu(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    from heflwr.monitor.probes.cpu import CpuProbe

    return CpuProbe(tree, plan.cpu_cores(limits))


def _memory(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    from heflwr.monitor.probes.memory import MemoryProbe

    limit = limits.memory_bytes if plan.relative_to == "limit" else None
    return MemoryProbe(tree, limit or plan.machine.memory_bytes())


def _network(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    if plan.network == "process":
        from heflwr.monitor.probes.tcp import ProcessNetworkProbe

        return ProcessNetworkProbe(plan.machine, tree, plan.loopback)
    from heflwr.monitor.probes.network import HostNetworkProbe

    return HostNetworkProbe(plan.machine, plan.pid, plan.interfaces, plan.loopback)


def _power(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    from heflwr.monitor.probes.power import PowerProbe

    return PowerProbe(plan.machine, plan.interval, shared.tegrastats)


def _disk(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    from heflwr.monitor.probes.disk import DiskProbe

    return DiskProbe(plan.machine, tree, plan.pid)


def _gpu(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    from heflwr.monitor.probes.gpu import GpuProbe

    return GpuProbe()


def _energy(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    from heflwr.monitor.probes.energy import EnergyProbe

    return EnergyProbe(plan.machine, plan.interval, shared.tegrastats)


def _threads(plan: Plan, tree: Tree, limits: Limits, shared: _Shared) -> Probe:
    from heflwr.monitor.probes.threads import ThreadsProbe

    return ThreadsProbe(plan.machine, tree)


_BUILDERS: dict[str, Callable[[Plan, Tree, Limits, _Shared], Probe]] = {
    "cpu": _cpu,
    "memory": _memory,
    "network": _network,
    "power": _power,
    "disk": _disk,
    "gpu": _gpu,
    "energy": _energy,
    "threads": _threads,
}
