"""Names, units and labels of everything that heflwr exposes: promtool's rules, and ours that it misses."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from programs import need
from prometheus_server import DIRECT

from heflwr.monitor.metrics import METRICS
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks.prometheus import PrometheusSink

LABELS = {"rail", "component", "version", "python", "platform"}
"""All labels of our own: few values each; never a pid, a run or a round."""

NO_BASE_UNIT = re.compile(
    r"_(percent|percentage|[mun]s|milli\w*|micro\w*|nano\w*|minutes|hours|[kmg]i?b|kilo\w*|mega\w*|giga\w*"
    r"|m?w|m?j|m?wh|kwh|m?v|volts?_milli\w*|mhz|ghz|bits)(_|$)"
)

BASE_UNIT = re.compile(r"_(seconds|bytes|joules|watts|ratio)(_total)?$")

COUNTS = {
    "heflwr_samples_total",
    "heflwr_threads",
    "heflwr_open_file_descriptors",
    "heflwr_context_switches_total",
    "heflwr_build_info",
    "heflwr_cpu_limit_cores",
}
"""What has no unit."""


def lint(text: str) -> list[str]:
    """Return what is wrong with an exposition in the text format."""
    lines = text.splitlines()
    helps = Counter(line.split(" ")[2] for line in lines if line.startswith("# HELP "))
    types = dict(line.split(" ")[2:4] for line in lines if line.startswith("# TYPE "))
    typed = Counter(line.split(" ")[2] for line in lines if line.startswith("# TYPE "))
    series = Counter(line.rpartition(" ")[0] for line in lines if not line.startswith("#"))
    names: dict[str, set[frozenset[str]]] = {}
    for one in series:
        name, _, labels = one.partition("{")
        names.setdefault(name, set()).add(frozenset(re.findall(r'(\w+)="', labels)))
    faults = [f"{one}: twice" for one, times in series.items() if times > 1]
    faults += [f"{name}: HELP twice" for name, times in helps.items() if times > 1]
    faults += [f"{name}: TYPE twice" for name, times in typed.items() if times > 1]
    faults += [f"{name}: HELP is no sentence" for name in re.findall(r"# HELP (\w+) (?![A-Z].*\.$)", text, re.M)]
    for name, labels in names.items():
        if name not in helps:
            faults.append(f"{name}: no HELP")
        if name not in types:
            faults.append(f"{name}: no TYPE")
        if not name.startswith("heflwr_"):
            faults.append(f"{name}: no prefix")
        if (types.get(name) == "counter") != name.endswith("_total"):
            faults.append(f"{name}: a {types.get(name)}")
        if NO_BASE_UNIT.search(name) or not (BASE_UNIT.search(name) or name in COUNTS):
            faults.append(f"{name}: no base unit")
        if len(labels) > 1:
            faults.append(f"{name}: not the same labels on each")
        if extra := set().union(*labels) - LABELS:
            faults.append(f"{name}: labels {sorted(extra)}")
    return faults


@pytest.fixture(scope="module")
def everything() -> str:
    """Return the exposition of a machine that has every source there is."""
    versions = {"heflwr": "1.0", "python": "3.13.0", "platform": "Linux"}
    run = Run(
        "client", "0123", 1, 1.7e9, 5.0, METRICS, versions=versions, limits={"cpu_cores": 1.5, "memory_bytes": 2**30}
    )
    sink = PrometheusSink(0, host="127.0.0.1")
    sink.open(run)
    try:
        sink.write(Sample(0, 1.7e9, 0.02, tuple(float(value) for value in range(1, len(METRICS) + 1))))
        with DIRECT.open(sink.facts()["url"], timeout=10) as answer:
            return answer.read().decode()
    finally:
        sink.close()


def promtool(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)


def test_every_metric_is_exposed(everything: str) -> None:
    """Each metric of the table that has a Prometheus name is there, under that name and with its labels."""
    for metric in METRICS:
        if metric.prometheus is not None:
            labels = "".join(f'{{{name}="{value}"}}' for name, value in metric.prometheus.labels)
            suffix = "_total" if metric.kind.value == "delta" else ""
            assert f"\n{metric.prometheus.name}{suffix}{labels} " in everything


def test_promtool_has_nothing_to_say(everything: str) -> None:
    """`promtool check metrics` finds no fault with any metric of the table."""
    result = promtool(everything)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


def test_promtool_would_speak_up() -> None:
    """The check above can fail: promtool objects to a counter without its suffix."""
    result = promtool("# HELP heflwr_samples Samples.\n# TYPE heflwr_samples counter\nheflwr_samples 3\n")
    assert result.returncode != 0
    assert "_total" in result.stdout + result.stderr


def test_names_units_and_labels_follow_the_conventions(everything: str) -> None:
    """Base units, _total on counters and only there, a sentence of HELP, a TYPE, known labels, no series twice."""
    assert lint(everything) == []


def test_a_sum_over_a_metric_counts_nothing_twice(everything: str) -> None:
    """The whole board and the whole machine have names of their own, apart from the parts that make them up."""
    series = re.findall(r'^(heflwr_\w*(?:energy|power)\w*)(\{\w+="(\w+)"\})? ', everything, re.M)
    parts = {name: {value for other, _, value in series if other == name} for name, _, _ in series}
    rails, components = {"vdd_cpu_gpu_cv", "vdd_soc"}, {"cpu", "gpu"}
    assert parts == {
        "heflwr_power_watts": {""},
        "heflwr_energy_joules_total": {""},
        "heflwr_rail_power_watts": rails,
        "heflwr_rail_energy_joules_total": rails,
        "heflwr_gpu_power_watts": {""},
        "heflwr_component_energy_joules_total": components,
        "heflwr_system_energy_joules_total": {""},
    }


DOCS = (Path(__file__).parents[2] / "docs" / "prometheus.md").read_text()


def test_the_documentation_lists_every_metric_and_no_other(everything: str) -> None:
    """Name, labels and type of each row of the table are what is exposed."""
    rows = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \|", DOCS, re.M)
    documented = {(name, kind): set(labels.split(",")) - {""} for name, labels, kind in rows}
    types = re.findall(r"^# TYPE (\w+) (\w+)$", everything, re.M)
    exposed = {
        (name, kind): set(re.findall(r'(\w+)="', "".join(re.findall(rf"^{name}{{(.*)}}", everything, re.M))))
        for name, kind in types
    }
    assert documented == exposed
    assert len(rows) == len(types)


def test_the_documented_scrape_configurations_are_valid(tmp_path: Path) -> None:
    """`promtool check config` takes each of them."""
    configurations = re.findall(r"```yaml\n(.*?)```", DOCS, re.S)
    assert len(configurations) == 3
    for name in ("ca.pem", "scrape_password"):
        (tmp_path / name).touch()
    for configuration in configurations:
        (tmp_path / "prometheus.yml").write_text(configuration)
        command = [need("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr


GOOD = "# HELP heflwr_a_bytes_total Bytes.\n# TYPE heflwr_a_bytes_total counter\nheflwr_a_bytes_total 1.0\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD.replace("heflwr_a_bytes_total", "heflwr_cpu_percent").replace("counter", "gauge"), "no base unit"),
        (GOOD.replace("heflwr_a_bytes_total", "heflwr_power_milliwatts").replace("counter", "gauge"), "no base unit"),
        (GOOD.replace("heflwr_a_bytes_total", "heflwr_a_mb").replace("counter", "gauge"), "no base unit"),
        (GOOD.replace("heflwr_a_bytes_total", "heflwr_energy").replace("counter", "gauge"), "no base unit"),
        (GOOD.replace("_total", ""), "a counter"),
        (GOOD.replace("counter", "gauge"), "a gauge"),
        (GOOD.replace("heflwr_", "fl_"), "no prefix"),
        (GOOD + GOOD, "twice"),
        (GOOD.replace("# HELP heflwr_a_bytes_total Bytes.\n", ""), "no HELP"),
        (GOOD.replace("# TYPE heflwr_a_bytes_total counter\n", ""), "no TYPE"),
        (GOOD.replace("Bytes.", "bytes"), "no sentence"),
        (GOOD.replace("total 1", 'total{pid="7"} 1'), "labels ['pid']"),
        (GOOD + 'heflwr_a_bytes_total{rail="a"} 2.0\n', "not the same labels"),
    ],
)
def test_the_rules_can_be_broken(text: str, fault: str) -> None:
    """Each rule of ours finds the fault that it is for, and a sound exposition has none."""
    assert lint(GOOD) == []
    assert any(fault in found for found in lint(text)), lint(text)
