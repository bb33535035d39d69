"""Real servers of time series for tests, on free loopback ports: InfluxDB 1 and VictoriaMetrics."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from programs import need
from servers import free_port
from waiting import wait_for

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine, whatever proxy the environment names."""

CONFIGURATION = """
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:0"
log-enabled = false
auth-enabled = {auth}
[[udp]]
enabled = true
bind-address = "127.0.0.1:{udp_port}"
database = "heflwr"
batch-timeout = "50ms"
"""


class Influx(NamedTuple):
    """An InfluxDB that runs."""

    url: str
    udp_url: str

    def query(self, text: str, **parameters: str) -> list[dict[str, Any]]:
        """Return the rows of a statement's only result, times in nanoseconds."""
        where = f"{self.url}/query?{urllib.parse.urlencode({'q': text, 'epoch': 'ns', **parameters})}"
        with DIRECT.open(urllib.request.Request(where, method="POST"), timeout=10) as answer:
            (result,) = json.load(answer)["results"]
        assert "error" not in result, result
        return [
            dict(zip(series["columns"], row, strict=True))
            for series in result.get("series", [])
            for row in series.get("values", [])
        ]


@contextmanager
def influxdb(folder: Path, *, database: str = "heflwr", admin: tuple[str, str] | None = None) -> Iterator[Influx]:
    """Run InfluxDB with one database; with an admin it asks everybody for a name and a password."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        udp_port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    values = {"folder": folder, "udp_port": udp_port, "auth": str(admin is not None).lower()}
    (folder / "influxdb.toml").write_text(CONFIGURATION.format(**values))
    log = folder / "influxdb.log"
    with _running([need("influxd"), "-config", str(folder / "influxdb.toml")], log) as process:
        found = wait_for(
            lambda: process.poll() is not None or re.search(r"Listening on HTTP.* addr=(\S+)", log.read_text()),
            what="a listening InfluxDB",
        )
        assert not isinstance(found, bool), f"influxd ended: {log.read_text()}"
        server = Influx(f"http://{found[1]}", f"udp://127.0.0.1:{udp_port}")
        wait_for(lambda: "Started listening on UDP" in log.read_text(), what="InfluxDB's UDP")
        access = {}
        if admin is not None:
            server.query(f"CREATE USER {admin[0]} WITH PASSWORD '{admin[1]}' WITH ALL PRIVILEGES")
            access = {"u": admin[0], "p": admin[1]}
        server.query(f'CREATE DATABASE "{database}"', **access)
        yield server


class VictoriaMetrics(NamedTuple):
    """A VictoriaMetrics that runs."""

    url: str

    def export(self, match: str) -> list[dict[str, Any]]:
        """Return every series that matches, with its values and its times in milliseconds."""
        with DIRECT.open(f"{self.url}/internal/force_flush", timeout=10):
            pass
        with DIRECT.open(f"{self.url}/api/v1/export?{urllib.parse.urlencode({'match[]': match})}", timeout=10) as lines:
            return [json.loads(line) for line in lines]


@contextmanager
def victoria_metrics(folder: Path) -> Iterator[VictoriaMetrics]:
    """Run VictoriaMetrics."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder / 'data'}", "-memory.allowedBytes=64MB"]
    log = folder / "victoria.log"
    with _running([need("victoria-metrics"), *options], log) as process:
        server = VictoriaMetrics(f"http://127.0.0.1:{port}")

        def is_up() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                with DIRECT.open(f"{server.url}/health", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_for(is_up, what="a ready VictoriaMetrics")
        yield server


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
