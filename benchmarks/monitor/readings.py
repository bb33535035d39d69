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
from heflwr.monitor.recording import Recording
from heflwr.monitor.sampling import Sampling

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
    sampling, recording = _sampling()
    tree, probes = _tree_and_probes()
    clock = time.monotonic_ns

    def heflwr() -> None:
        now = clock()
        tree.refresh(now)
        for probe in probes:
            probe.read(now)

    def heflwr_looking() -> None:
        now = clock()
        tree.refresh(now, scan=True)
        for probe in probes:
            probe.read(now)

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

    kinds: dict[str, Callable[[], object]] = {"heflwr": heflwr, "heflwr, looking for children": heflwr_looking}
    if children:
        kinds["psutil, with children"] = with_psutil_children
    else:
        kinds = {"floor": FloorReading(), **kinds, "psutil": with_psutil}
        kinds["heflwr, a whole tick"] = sampling.tick
    kinds["(kept alive)"] = lambda: recording.counts()
    return kinds


def _plan() -> Plan:
    return Plan(
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
