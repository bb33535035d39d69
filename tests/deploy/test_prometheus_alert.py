"""The way of an alert: three ways to find a client, a real Prometheus, a real Alertmanager, and a webhook."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alertmanager import Webhook, alertmanager, deploy
from prometheus_server import prometheus_with
from servers import CollectorProcess, free_port
from waiting import wait_for

TIMES = 40
"""So many times as fast goes the clock: a scrape every 0.4 s, down after three."""

MONITORED = """
import sys
from heflwr.monitor.process_monitor import PrometheusMonitor

identifier, port, collector = sys.argv[1:]
options = {"identifier": identifier, "register": collector or None}
with PrometheusMonitor(int(port), 0.2, host="127.0.0.1", **options):
    sys.stdin.read()
"""
"""A process with a monitor, until its standard input ends; it registers with a collector, if any."""


@contextmanager
def client(identifier: str, port: int, collector: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Run a monitored process; it ends in good order, if it still runs."""
    command = [sys.executable, "-c", MONITORED, identifier, str(port), collector]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process


def test_an_alert_about_a_killed_client_arrives_and_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three clients is killed: one alert comes, of that client, and is over when it is back on another port."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as stack:
        webhook = stack.enter_context(Webhook())
        collector = stack.enter_context(CollectorProcess(tmp_path / "heflwr.db"))
        fixed, listed = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        for name, address in (("fixed", fixed), ("listed", listed)):
            stack.enter_context(client(name, int(address.partition(":")[2])))
        registered = stack.enter_context(client("registered", 0, collector.address))
        deploy(tmp_path, TIMES, {"alerts.example:8080": webhook.address})
        addresses = {
            "alertmanager:9093": stack.enter_context(alertmanager(tmp_path / "alertmanager.yml")),
            "collector:5000": collector.address,
            "coordinator:9465": f"127.0.0.1:{free_port()}",  # there is none, and no alert about it
            "superlink:9464": f"127.0.0.1:{free_port()}",
            "targets: []": f"targets: ['{fixed}']",
        }
        deploy(tmp_path, TIMES, addresses)
        groups = [{"targets": [listed], "labels": {"client": "listed"}}]
        (tmp_path / "targets" / "clients.json").write_text(json.dumps(groups))
        lookback = f"--query.lookback-delta={300_000 // TIMES}ms"
        server = stack.enter_context(prometheus_with(tmp_path / "prometheus.yml", lookback))

        def up() -> set[str]:
            return {labels["client"] for labels, _ in server.query('up{client!=""} offset 3s == 1')}

        wait_for(lambda: up() == {fixed, "listed", "registered"}, what="three clients, three seconds ago", seconds=60)
        registered.kill()
        killed_at = datetime.now(UTC)
        [alert] = wait_for(lambda: webhook.alerts("firing"), what="the alert", seconds=60)
        arrived_at, body = datetime.now(UTC), webhook.bodies[0]
        stack.enter_context(client("registered", 0, collector.address))
        [end] = wait_for(lambda: webhook.alerts("resolved"), what="its end", seconds=60)
        assert {} == server.rule_errors()
        assert [] == [one for one in server.alerts() if one["state"] == "firing"]
    fired_at = datetime.fromisoformat(alert["startsAt"])
    print(f"killed  {killed_at:%H:%M:%S.%f}\nfired   {fired_at:%H:%M:%S.%f}\narrived {arrived_at:%H:%M:%S.%f}")
    print(json.dumps(body, indent=2))
    assert ("firing", "people", {"alertname": "ClientDown"}) == (body["status"], body["receiver"], body["groupLabels"])
    assert {"alertname": "ClientDown", "client": "registered", "severity": "critical"} == alert["labels"]
    assert alert["annotations"]["summary"] == "Client registered is down"
    assert "Its last sample is of 20" in alert["annotations"]["description"]
    assert "docs/prometheus.md#clientdown" == alert["annotations"]["runbook_url"]
    assert killed_at < fired_at < arrived_at
    assert alert["labels"] == end["labels"]
    assert [alert] == webhook.alerts("firing")
