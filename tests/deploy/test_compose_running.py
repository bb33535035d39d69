"""What deploy/compose starts, started: the very same commands, in sandboxes, and a Flower run on them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from containers import FOLDER, RUN_SECONDS, Containers
from waiting import wait_for

for package in ("flwr", "sklearn", "matplotlib", "flask", "waitress", "zmq"):
    pytest.importorskip(package)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COLLECTOR = "http://127.0.0.1:5000"
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
SUPERNODES = ["supernode-0", "supernode-1"]


class Stack:
    """The running services, the collector's token, what the app printed, and what its server exposed meanwhile."""

    def __init__(self, containers: Containers, token: str, printed: str, rounds: str) -> None:
        self.containers = containers
        self.token = token
        self.printed = printed
        self.rounds = rounds

    def collected(self, path: str) -> Any:
        return self.containers.ask(f"{COLLECTOR}/api/v1/{path}", self.token)

    def scraped(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.containers.ask(f"{PROMETHEUS}/query?query={query}")["data"]["result"]
        return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything but Grafana, and one round of the app. Those that others wait for come first, the rest together."""
    folder = tmp_path_factory.mktemp("compose")
    prepared = "import sys, pathlib, prepare; prepare.prepare(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", prepared, str(folder / "secrets")], cwd=FOLDER, check=True)
    with Containers(folder) as containers:
        containers.run("keys")
        containers.start("collector")
        containers.start("superlink", *SUPERNODES, "coordinator", "agent-0", "agent-1", "prometheus", "alertmanager")
        with ThreadPoolExecutor(1) as pool:
            app = pool.submit(containers.run, "app", "rounds=1")
            rounds = wait_for(lambda: app.done() or containers.metrics("http://127.0.0.1:9464/metrics"), RUN_SECONDS)
            printed = app.result()
        yield Stack(containers, (folder / "secrets" / "collector_token").read_text(), printed, str(rounds))


def test_the_app_has_run_on_both_supernodes(stack: Stack) -> None:
    """`docker compose run --rm app`: both nodes train, the model gets better, and nothing failed."""
    assert "Received 2 results and 0 failures" in stack.printed
    assert "round 1  accuracy 0." in stack.printed
    assert "Exit Code:" not in stack.printed


def test_the_rounds_are_exposed_while_the_app_runs(stack: Stack) -> None:
    """The SuperLink's environment says where, and the address is one that Prometheus is told of."""
    assert "heflwr_flower_" in stack.rounds
    configuration = (FOLDER.parent / "prometheus" / "prometheus.yml").read_text()
    assert '"superlink:9464"' in configuration


def test_every_service_is_well_by_its_own_healthcheck(stack: Stack) -> None:
    """Also after the run."""
    for name in ("collector", "superlink", *SUPERNODES, "coordinator", "prometheus", "alertmanager"):
        assert stack.containers.is_healthy(name), stack.containers.told(name)


def test_a_service_can_write_where_it_has_a_volume_and_nowhere_else(stack: Stack) -> None:
    """As the fixed user, without a capability: what has run above needs no more."""
    places = ("/etc", "/var", "/var/lib", "/var/lib/heflwr", "/var/lib/flower", "/usr", "/run", "/tmp", str(FOLDER))
    look = (
        "id -u; grep CapBnd /proc/self/status; for place in $0 $@; do touch $place/x 2>/dev/null && echo $place; done"
    )
    volumes = {"collector": "/var/lib/heflwr", "superlink": "/var/lib/flower", "supernode-0": "/var/lib/flower"}
    for name, volume in volumes.items():
        done = stack.containers.execute(name, "sh", "-c", look, "/", *places)
        assert ["10001", "CapBnd:", "0" * 16, volume, "/tmp"] == done.stdout.split()


def test_the_collector_has_both_supernodes(stack: Stack) -> None:
    """Each under its own name, from its own host, with the CPU time of the training in it."""
    clients = {client["identifier"]: client for client in stack.collected("clients")["clients"]}
    assert set(SUPERNODES) <= set(clients)
    for name in SUPERNODES:
        assert name == clients[name]["about"]["host"]
        samples = stack.collected(f"samples?identifier={name}")["samples"]
        assert sum(sample["values"]["cpu_seconds"] or 0 for sample in samples) > 0.5


def test_prometheus_finds_the_supernodes_by_the_collector(stack: Stack) -> None:
    """With the token. It scrapes them where they say they are, and the collector and the coordinator, too."""
    wanted = {("heflwr", f"{name}:{port}") for name, port in zip(SUPERNODES, (9200, 9201), strict=True)}
    wanted |= {("heflwr-collector", "collector:5000"), ("heflwr-coordinator", "coordinator:9465")}

    def up() -> bool:
        series = stack.scraped("up==1")
        return wanted <= {(one["metric"]["job"], one["metric"]["instance"]) for one in series}

    wait_for(up, 60, "every target")
    memory = stack.scraped("heflwr_memory_resident_bytes")
    assert set(SUPERNODES) == {one["metric"]["identifier"] for one in memory}


def test_prometheus_has_somebody_to_tell(stack: Stack) -> None:
    """The rules are loaded, and Alertmanager is there."""
    rules = stack.containers.ask(f"{PROMETHEUS}/rules")["data"]["groups"]
    assert {"/etc/prometheus/rules"} == {os.path.dirname(group["file"]) for group in rules}
    managers = stack.containers.ask(f"{PROMETHEUS}/alertmanagers")["data"]["activeAlertmanagers"]
    assert ["http://alertmanager:9093/api/v2/alerts"] == [manager["url"] for manager in managers]


def test_the_coordinator_knows_the_fleet_second_by_second(stack: Stack) -> None:
    """Two agents with keys of their own, each watching what runs beside it; the collector is told."""

    def known() -> bool:
        functions = stack.collected("functions")["functions"]
        latest = [one["latest"] for one in functions]
        return len(latest) == 2 and all(one["live"] == 2 and one["value"] is not None for one in latest)

    wait_for(known, 60, "both functions")


def test_a_supernode_ends_when_it_is_told(stack: Stack) -> None:
    """The SIGTERM of `docker compose stop` goes through the monitor to the SuperNode, and its exit code comes back."""
    metrics = "http://127.0.0.1:9201/metrics"
    assert 'identifier="supernode-1"' in stack.containers.metrics(metrics)
    assert 0 == stack.containers.stop("supernode-1")
    assert "" == stack.containers.metrics(metrics)
