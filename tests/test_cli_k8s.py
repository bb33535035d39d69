"""`heflwr k8s render`: what is chosen arrives, and nothing else gets into the manifests."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from heflwr.cli import main
from heflwr.k8s import Values, render

ROOT = Path(__file__).parents[1]

CHOSEN = {
    "namespace": "lab",
    "image": "registry.example:5000/team/collector:1.2@sha256:" + 64 * "a",
    "flower-image": "flower@sha256:" + 64 * "0",
    "storage": "50Gi",
    "token-secret": "team.tokens",
    "prometheus-namespace": "observability",
    "node-label": "site.example/kind=edge",
    "cpu": "1500m",
    "memory": "768Mi",
}


def structure(value: Any) -> Any:
    """Return a document with every text emptied: its keys, lists and the types of its values."""
    if isinstance(value, dict):
        return {key: structure(one) for key, one in value.items()}
    return [structure(one) for one in value] if isinstance(value, list) else type(value)


def texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {text for one in value.values() for text in texts(one)}
    return {text for one in value for text in texts(one)} if isinstance(value, list) else {str(value)}


def documents(text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))  # S: the safe one; C: ten times as fast


def test_every_value_that_is_chosen_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    """All nine, as texts."""
    assert set(CHOSEN) == {one.name.replace("_", "-") for one in fields(Values)}
    assert 0 == main(["k8s", "render", *(f"--{name}={value}" for name, value in CHOSEN.items())])
    printed = documents(capsys.readouterr().out)
    assert {*CHOSEN.values()} - {CHOSEN["node-label"]} <= texts(printed)
    (daemons,) = (one for one in printed if one["kind"] == "DaemonSet")
    assert {"site.example/kind": "edge"} == daemons["spec"]["template"]["spec"]["nodeSelector"]
    assert {"lab"} == {one["metadata"].get("namespace", one["metadata"]["name"]) for one in printed}


def test_a_cluster_without_the_operator_gets_none_of_its_resources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--no-monitors, printed or written."""
    assert 0 == main(["k8s", "render", "--no-monitors"])
    kinds = [one["kind"] for one in documents(capsys.readouterr().out)]
    assert "DaemonSet" in kinds
    assert not [kind for kind in kinds if kind.endswith("Monitor")]
    assert 0 == main(["k8s", "render", "--no-monitors", "--out", str(tmp_path)])
    assert ["base"] == [path.name for path in tmp_path.iterdir()]


def test_kustomizations_are_written_to_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --out; the files are printed, and a second time replaced."""
    for namespace in ("one", "two"):
        assert 0 == main(["k8s", "render", "--out", str(tmp_path / "new"), "--namespace", namespace])
        written = {Path(line) for line in capsys.readouterr().out.splitlines()}
    assert written == {path for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert 'name: "two"' in (tmp_path / "new" / "base" / "namespace.yaml").read_text()


def test_every_command_in_the_epilog_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What --help shows renders something."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(["k8s", "render", "--help"])
    examples = re.findall(r"^  heflwr (k8s render .+?)(?:  .*| \|.*)?$", capsys.readouterr().out, re.MULTILINE)
    assert len(examples) == 3
    for example in examples:
        assert 0 == main(example.split())
    assert (tmp_path / "cluster" / "prometheus-operator").is_dir()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 1."""
    (tmp_path / "file").touch()
    assert 1 == main(["k8s", "render", "--out", str(tmp_path / "file")])
    assert re.fullmatch(r"heflwr: .*file.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("namespace", "Heflwr"),
        ("namespace", "-a"),
        ("namespace", "a.b"),
        ("namespace", "a" * 64),
        ("namespace", 'x"\n  labels: {evil: "1'),
        ("namespace", "lab\n"),
        ("namespace", ""),
        ("namespace", "kube-system"),
        ("namespace", "default"),
        ("namespace", "monitoring"),
        ("image", "heflwr"),
        ("image", "heflwr:latest"),
        ("image", "Heflwr:1"),
        ("image", "registry..example/a:1"),
        ("image", "a:1\n"),
        ("image", "a:1 b"),
        ("image", "a@sha256:12"),
        ("flower-image", 'a:1", command: ["sh"'),
        ("storage", "5"),
        ("storage", "5GB"),
        ("storage", "0Gi"),
        ("storage", "-1Gi"),
        ("token-secret", "a_b"),
        ("token-secret", "a..b"),
        ("token-secret", "a" * 254),
        ("prometheus-namespace", "$namespace"),
        ("node-label", "edge"),
        ("node-label", "a/b/c=d"),
        ("node-label", 'a=b", "c": "d'),
        ("cpu", "0.5"),
        ("cpu", "0"),
        ("cpu", "249m"),
        ("memory", "2g"),
        ("memory", "511Mi"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the option, what it must be, and what it got; nothing is printed that somebody might apply."""
    assert 1 == main(["k8s", "render", f"--{name}={value}"])
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith(f"heflwr: {name} must be ")
    assert printed.err.endswith(f"got {value!r}\n")


def test_the_least_that_is_taken_is_what_is_requested() -> None:
    """A limit below the request is refused by Kubernetes, and only when the pods are made."""
    rendered = documents(render(Values(cpu="250m", memory="512Mi")))
    (daemons,) = (one for one in rendered if one["kind"] == "DaemonSet")
    (container,) = daemons["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"]


USUAL = structure(documents(render(Values())))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_value_changes_the_structure(data: st.DataObject) -> None:
    """Whatever a rule lets through is a text in its place: no key, no list and no number comes of it."""
    name, rule = data.draw(st.sampled_from([(one.name, one.metadata["rule"]) for one in fields(Values)]))
    value = data.draw(st.from_regex(rule.pattern, fullmatch=True).filter(rule.takes))
    rendered = documents(render(replace(Values(), **{name: value})))
    if name == "node_label":
        label, _, wanted = value.partition("=")
        (daemons,) = (one for one in rendered if one["kind"] == "DaemonSet")
        assert {label: wanted} == daemons["spec"]["template"]["spec"].pop("nodeSelector")
        usual = documents(render(Values()))
        del next(one for one in usual if one["kind"] == "DaemonSet")["spec"]["template"]["spec"]["nodeSelector"]
        assert usual == rendered
    else:
        assert USUAL == structure(rendered)
        assert value in texts(rendered)


def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    """Who installs heflwr from a package index can render, too."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("heflwr/k8s/templates/")}
    templates = (ROOT / "heflwr" / "k8s" / "templates").rglob("*.yaml")
    assert {path.relative_to(ROOT).as_posix() for path in templates} == packed
