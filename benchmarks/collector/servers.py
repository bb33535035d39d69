"""The servers that are compared, each a process of its own on a free port and in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PATIENCE_SECONDS = 60.0

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mib(self) -> float:
        """Return the memory that it holds."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _process(command: list[str], port: int, ready: str, home: Path) -> Iterator[Running]:
    with subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}"):
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} does not answer")
                time.sleep(0.1)
            yield Running(port, process.pid)
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def heflwr(home: Path, database: Path | None = None) -> contextlib.AbstractContextManager[Running]:
    port = free_port()
    place = str(database or home / "heflwr.db")
    command = [sys.executable, "-m", "heflwr.collector", "--port", str(port), "--database", place, "--rate", "0"]
    return _process(command, port, "/healthz", home)


def influxdb(home: Path) -> contextlib.AbstractContextManager[Running]:
    port = free_port()
    config = home / "influxdb.conf"
    config.write_text(
        f"reporting-disabled = true\nbind-address = '127.0.0.1:{free_port()}'\n"
        f"[meta]\ndir = '{home}/meta'\n[data]\ndir = '{home}/data'\nwal-dir = '{home}/wal'\n"
        f"[http]\nbind-address = '127.0.0.1:{port}'\nlog-enabled = false\n[monitor]\nstore-enabled = false\n"
    )
    return _created(_process(["influxd", "-config", str(config)], port, "/ping", home))


@contextlib.contextmanager
def _created(server: contextlib.AbstractContextManager[Running]) -> Iterator[Running]:
    with server as running:
        url = f"http://127.0.0.1:{running.port}/query"
        with urllib.request.urlopen(url, data=b"q=CREATE+DATABASE+heflwr"):
            yield running


def pushgateway(home: Path) -> contextlib.AbstractContextManager[Running]:
    port = free_port()
    return _process(["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"], port, "/-/ready", home)


def has(program: str) -> bool:
    return shutil.which(program) is not None
