"""The deployment's files for Prometheus: what promtool says of them, and whether they speak of metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from alertmanager import DEPLOYMENT
from programs import need
from prometheus_client.parser import text_string_to_metric_families as families
from prometheus_server import DIRECT
from servers import collector, get, post

from heflwr.flower import Entry, History
from heflwr.flower.cost import COLUMNS
from heflwr.flower.server.gauges import Gauges
from heflwr.flower.server.round_energy import ROUNDS_LEAST
from heflwr.live.gauges import FleetGauges
from heflwr.live.standing import Standing
from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.prometheus import PrometheusSink

ROOT = DEPLOYMENT.parents[1]
DOCS = (ROOT / "docs" / "prometheus.md").read_text()
RULES = sorted((DEPLOYMENT / "rules").glob("*.yml"))
TESTS = sorted((DEPLOYMENT / "rules" / "tests").glob("*.yml"))

TARGET_LABELS = {"job", "instance", "client"}
"""What Prometheus itself and the deployment's relabelling add."""

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_:]*")


def rules(kind: str) -> list[dict[str, Any]]:
    """Return the rules that have this key: "alert" or "record"."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def cases(alert: str) -> list[dict[str, Any]]:
    """Return what the rules' unit tests expect of an alert."""
    tests = [test for path in TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    return [case for test in tests for case in test.get("alert_rule_test", []) if case["alertname"] == alert]


ALERTS = rules("alert")
ALERT_NAMES = [rule["alert"] for rule in ALERTS]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([need("promtool"), *map(str, arguments)], capture_output=True, text=True)


def test_promtool_takes_the_configuration_and_the_rules() -> None:
    """`promtool check config` and `check rules`, every lint a failure."""
    for arguments in (
        ("check", "config", "--lint=all", "--lint-fatal", DEPLOYMENT / "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", *RULES),
    ):
        result = promtool(*arguments)
        assert (0, "") == (result.returncode, result.stderr), result.stdout


def test_every_unit_test_of_the_rules_passes() -> None:
    """`promtool test rules`."""
    result = promtool("test", "rules", *TESTS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_amtool_takes_the_alertmanagers_configuration() -> None:
    """`amtool check-config`."""
    result = subprocess.run(
        [need("amtool"), "check-config", DEPLOYMENT / "alertmanager.yml"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=ALERT_NAMES)
def test_an_alert_is_tested_explained_and_has_a_runbook(alert: dict[str, Any]) -> None:
    """A test in which it fires and one in which it nearly does; a summary, a description and a heading in the docs."""
    expected = [bool(case["exp_alerts"]) for case in cases(alert["alert"])]
    assert {True, False} == set(expected)
    annotations = alert["annotations"]
    assert {"summary", "description", "runbook_url"} == set(annotations)
    assert f"docs/prometheus.md#{alert['alert'].lower()}" == annotations["runbook_url"]
    assert f"\n### {alert['alert']}\n" in DOCS
    assert alert["labels"]["severity"] in ("critical", "warning", "info")


def test_the_runbook_is_of_these_alerts_and_no_others() -> None:
    """In the order of the rules, so that neither has something that the other lacks."""
    runbook = DOCS.partition("\n## Runbook\n")[2].partition("\n## ")[0]
    assert ALERT_NAMES == re.findall(r"^### (\w+)$", runbook, re.M)


def test_every_threshold_is_used_and_each_that_is_used_is_there() -> None:
    """A threshold without a value would turn its alert off without a word."""
    known = {rule["labels"]["of"] for rule in rules("record") if rule["record"] == "heflwr:threshold"}
    expressions = "\n".join(str(rule["expr"]) for rule in [*ALERTS, *rules("record")])
    assert known == set(re.findall(r'heflwr:threshold\{of="(\w+)"', expressions))


class Exposed(NamedTuple):
    """A metric as a real endpoint exposes it."""

    kind: str
    labels: set[str]


def scraped(text: str) -> Iterator[tuple[str, Exposed]]:
    for family in families(text):
        for sample in family.samples:
            yield sample.name, Exposed(family.type, set(sample.labels))


def of_a_monitor() -> str:
    limits = {"cpu_cores": 1.5, "memory_bytes": 2.0**30}
    sink = PrometheusSink(0, host="127.0.0.1")
    sink.open(Run("client", "0123", 1, 1.7e9, 5.0, METRICS, limits=limits))
    try:
        sink.write(Sample(0, 1.7e9, 0.02, (1.0,) * len(METRICS)))
        return text_of(sink.facts()["url"])
    finally:
        sink.close()


def of_a_flower_run() -> str:
    gauges = Gauges(0, host="127.0.0.1")
    gauges.open(History())
    try:
        for number in range(ROUNDS_LEAST + 2):
            gauges.sent("train", number, 1)
            cost = dict.fromkeys((column.name for column in COLUMNS), 1.0)
            gauges.entry(Entry(1, "node", number, "train", 0.0, 1.0, cost=cost))
        gauges.sent("train", number + 1, 1)
        return text_of(gauges.url)
    finally:
        gauges.close()


def of_a_coordinator() -> str:
    standing = Standing("mean", "percent", "exact", "", 1.0, 2.0, live=3, stale=0, lost=0, messages=1, updates=2)
    with FleetGauges(lambda: [standing], 0) as gauges:
        return text_of(gauges.url)


def text_of(url: str) -> str:
    with DIRECT.open(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exposed]:
    """Return what a monitor, a Flower run, a coordinator and a collector expose, each scraped over HTTP."""
    with collector(tmp_path_factory.mktemp("collector") / "heflwr.db") as collected:
        assert post(f"{collected.url}/log", b"no JSON")[0] == 400
        own = get(f"{collected.url}/metrics")[1]
    texts = (of_a_monitor(), of_a_flower_run(), of_a_coordinator(), own)
    return {name: metric for text in texts for name, metric in scraped(text)}


def spoken_of(rule: dict[str, Any]) -> set[str]:
    """Return the metrics of heflwr in a rule's expression, and in the queries of its annotations."""
    expression = re.sub(r'"[^"]*"', "", str(rule["expr"]))
    asked = " ".join(rule.get("annotations", {}).values())
    own = set(NAME.findall(expression)) | set(re.findall(r"heflwr_[a-z_]+(?={)", asked))
    return {name for name in own if name.startswith("heflwr_") or ":" in name}


@pytest.mark.parametrize(
    "rule",
    [*ALERTS, *rules("record")],
    ids=lambda rule: rule.get("alert") or f"{rule['record']} {rule.get('labels', '')}",
)
def test_a_rule_speaks_of_metrics_that_are_exposed(rule: dict[str, Any], exposed: dict[str, Exposed]) -> None:
    """Every name is that of a real endpoint's metric or of a recording rule; rates are of counters."""
    recorded = {one["record"] for one in rules("record")}
    assert set() == spoken_of(rule) - recorded - exposed.keys()
    for name in re.findall(r"\b(?:rate|increase)\((\w+)", str(rule["expr"])):
        assert exposed[name].kind == "counter"


def test_the_unit_tests_are_of_series_that_are_exposed(exposed: dict[str, Exposed]) -> None:
    """With the labels that a real endpoint gives them, and those of a target."""
    series = [
        str(one["series"])
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for one in test["input_series"]
    ]
    assert series
    for one in series:
        name, _, rest = one.partition("{")
        labels = set(re.findall(r'(\w+)="', rest))
        assert labels - TARGET_LABELS == (set() if name == "up" else exposed[name].labels), one


def test_the_list_of_clients_in_the_readme_is_one(tmp_path: Path) -> None:
    """Promtool reads the README's targets where the configuration looks for them; and it would mind a wrong one."""
    shutil.copytree(DEPLOYMENT, tmp_path / "prometheus")
    [shown] = re.findall(r"```json\n(.*?)```", (DEPLOYMENT / "README.md").read_text(), re.S)
    clients = tmp_path / "prometheus" / "targets" / "clients.json"
    for text, code in ((shown, 0), (json.dumps({"targets": "client-7"}), 1)):
        clients.write_text(text)
        assert code == promtool("check", "config", tmp_path / "prometheus" / "prometheus.yml").returncode
