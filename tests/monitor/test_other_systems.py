"""Windows and macOS by construction: nothing that only Linux has is needed to import or to run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys
import psutil  # its Linux half needs these modules itself
for name in ("fcntl", "resource", "pwd", "grp", "termios"):  # what Windows does not have
    sys.modules[name] = None
import os
for name in ("register_at_fork", "set_blocking", "O_CLOEXEC"):
    delattr(os, name)
from heflwr.monitor import Monitor
from heflwr.monitor.probes.machine import Machine
from heflwr.monitor.sinks.file import FileSink
monitor = Monitor([FileSink("log.txt")], runner={runner!r}, interval=0.05, machine=Machine(proc=None, sys=None))
monitor.set_metrics(threads=True)
with monitor:
    sum(range(5_000_000))
assert "heflwr.monitor.probes.tree_linux" not in sys.modules
assert monitor.failure == "" and not monitor.health.errors, monitor.health
summary = monitor.summary()
print(summary["avg_cpu_usage"] > 0, summary["avg_memory_usage"] > 0, summary["avg_threads"] >= 1)
"""


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_a_system_without_linuxs_modules_and_files_is_measured_through_psutil(runner: str, tmp_path: Path) -> None:
    """CPU, memory and threads come out; no Linux reader is even imported."""
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(runner=runner)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ("True True True\n", "") == (result.stdout, result.stderr)
