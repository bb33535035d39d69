"""One reading of CPU, memory and network: CPU microseconds a call in a hot loop, candidates taking turns.

Runs inside the watched process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
from floor import FloorReading

from heflwr.monitor.metrics import DEFAULT_GROUPS, GROUPS
from heflwr.monitor.plan import Plan
from heflwr.monitor.probes.machine import Machine

_SLEEPER = "import sys; print(flush=True); sys.stdin.read()"
"""An idle child: says when it is there, ends when we do."""


def compare_readings(children: int, rounds: int, calls: int) -> dict[str, list[float]]:
    """Return each kind of reading's CPU microseconds a call, one value a round.

    Args:
        children: Idle children that the process has meanwhile.
        rounds: Turns of each kind.
        calls: Calls in a turn.
    """
    sleepers = [
        subprocess.Popen([sys.executable, "-S", "-c", _SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(children)
    ]
    try:
        for sleeper in sleepers:
            assert sleeper.stdout is not None
            sleeper.stdout.readline()
        kinds = _kinds(children)
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, read in kinds.items():
                times[name].append(_microseconds(read, calls))
        return times
    finally:
        for sleeper in sleepers:
            sleeper.communicate()


def _microseconds(read: Callable[[], object], calls: int) -> float:
    read()
    began = time.process_time_ns()
    for _ in range(calls):
        read()
    return (time.process_time_ns() - began) / calls / 1000


def _kinds(children: int) -> dict[str, Callable[[], object]]:
    plan = Plan(
        pid=os.getpid(),
        interval=1.0,
        groups=dict.fromkeys(GROUPS, False) | DEFAULT_GROUPS,
        sinks=(),
        identifier="benchmark",
        run="0",
        network="host",
        interfaces=None,
        loopback=False,
        relative_to="machine",
        machine=Machine.here(),
    )
    tree = plan.tree()
    tree.open()
    probes = plan.probes(tree, plan.limits())
    for probe in probes:
        probe.open()
        probe.start(time.monotonic_ns())

    def heflwr(*, scan: bool = False) -> None:
        now_ns = time.monotonic_ns()
        tree.refresh(now_ns, scan=scan)
        for probe in probes:
            probe.read(now_ns)

    process = psutil.Process()

    def with_psutil() -> None:
        process.cpu_percent()
        process.memory_info()
        psutil.net_io_counters()

    def with_psutil_children() -> None:
        with_psutil()
        for child in process.children(recursive=True):
            child.cpu_times()
            child.memory_info()

    return {
        "floor": FloorReading(),
        "heflwr": heflwr,
        "heflwr, looking for children": lambda: heflwr(scan=True),
        "psutil": with_psutil_children if children else with_psutil,
    }
