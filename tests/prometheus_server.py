"""A real Prometheus server for tests: started on a free loopback port, asked over its HTTP API, ended."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from programs import need
from waiting import wait_for

SCRAPE_INTERVAL = "500ms"

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs of this machine, whatever proxy the environment names."""


class PrometheusServer:
    """Answers questions about what the server has scraped."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_ready(self) -> bool:
        try:
            with DIRECT.open(f"{self._url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the instant vector of a PromQL expression: labels and value of each series."""
        found = self._get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def query_range(self, expression: str, seconds: float, step: float) -> list[dict[str, str]]:
        """Return the labels of each series that an expression has over the last seconds; a wrong one raises."""
        end = time.time()
        parameters = {"start": f"{end - seconds:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        return [series["metric"] for series in self._get("query_range", query=expression, **parameters)["result"]]

    def label_values(self, label: str, selector: str) -> list[str]:
        """Return the values that a label has in the series that are selected."""
        found: list[str] = self._get(f"label/{label}/values", **{"match[]": selector})
        return found

    def value(self, expression: str) -> float:
        """Return the value of an expression that has exactly one series."""
        series = self.query(expression)
        assert len(series) == 1, f"{expression}: {series}"
        return series[0][1]

    def targets(self) -> dict[str, dict[str, Any]]:
        """Return what the server says of each scrape target, by job."""
        return {target["labels"]["job"]: target for target in self._get("targets", state="active")["activeTargets"]}

    def metadata(self, metric: str) -> list[dict[str, Any]]:
        """Return type, help and unit of a metric, once a target."""
        found: list[dict[str, Any]] = self._get("targets/metadata", metric=metric)
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return found

    def rule_errors(self) -> dict[str, str]:
        """Return what went wrong in the latest evaluation of each rule; empty where none has failed."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        return {rule["name"]: rule["lastError"] for rule in rules if "lastError" in rule}

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with DIRECT.open(url, timeout=10) as answer:
            return json.load(answer)["data"]


def self_signed(folder: Path, *, password: str = "") -> tuple[Path, Path]:
    """Return a certificate for loopback that signs itself, and its key, encrypted with the password if any."""
    certfile, keyfile = folder / "cert.pem", folder / "key.pem"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=heflwr", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    secret = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    files = ["-keyout", str(keyfile), "-out", str(certfile)]
    subprocess.run([need("openssl"), *request, *names, *secret, *files], check=True, capture_output=True)
    return certfile, keyfile


@contextmanager
def listening(command: Sequence[str], log: Path) -> Iterator[str]:
    """Run a server of the Prometheus project; yields the address that it logs, and ends it."""
    name = Path(command[0]).name
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = wait_for(
            lambda: process.poll() is not None or re.search(r'"Listening on" address=(\S+)', log.read_text()),
            what=f"a listening {name}",
        )
        assert not isinstance(address, bool), f"{name} ended: {log.read_text()}"
        yield address[1]
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def prometheus_with(configuration: Path, *options: str) -> Iterator[PrometheusServer]:
    """Run Prometheus with a configuration file, data and log beside it; skips where the program is missing."""
    folder = configuration.parent
    command = [
        need("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        *options,
    ]
    with listening(command, folder / "prometheus.log") as address:
        server = PrometheusServer(f"http://{address}")
        wait_for(server.is_ready, what="a ready Prometheus")
        yield server


@contextmanager
def prometheus_server(folder: Path, jobs: Sequence[dict[str, Any]]) -> Iterator[PrometheusServer]:
    """Run Prometheus with these scrape configurations; skips where the program is missing.

    Args:
        folder: Where configuration, data and log go.
        jobs: Entries of `scrape_configs`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    interval = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}
    configuration = {"global": interval, "scrape_configs": list(jobs)}
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    with prometheus_with(folder / "prometheus.yml") as server:
        yield server
