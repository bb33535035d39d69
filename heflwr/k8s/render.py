"""Fills the templates beside this file. They are the one source: `deploy/kubernetes` is what the defaults give."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from string import Template

from heflwr.k8s.values import Values

BASE = "base"
OPERATOR = "prometheus-operator"
"""Folders of the kustomizations: everything that every cluster takes; that and the Prometheus Operator's resources."""

RESOURCES = {
    BASE: ("namespace", "collector", "superlink", "supernode", "networkpolicy"),
    OPERATOR: ("servicemonitor", "podmonitor"),
}
"""A template each, in the order in which they are applied."""

_KUSTOMIZATION = "kustomization"
_TEMPLATES = Path(__file__).with_name("templates")


def render(values: Values, *, is_with_monitors: bool = True) -> str:
    """Return all manifests as one stream of YAML documents, for `kubectl apply -f -`.

    Args:
        values: What to fill in.
        is_with_monitors: With ServiceMonitor and PodMonitor, which only a cluster with the Prometheus Operator takes.
    """
    folders = _folders(is_with_monitors)
    return "---\n".join(_filled(folder, name, values) for folder in folders for name in RESOURCES[folder])


def write(values: Values, folder: Path, *, is_with_monitors: bool = True) -> list[Path]:
    """Write the kustomizations `base` and `prometheus-operator`; return the files, which replace those of that name.

    Args:
        values: What to fill in.
        folder: Where to; created.
        is_with_monitors: Both; otherwise `base` only.

    Raises:
        OSError: It cannot be written.
    """
    written = []
    for name in _folders(is_with_monitors):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for resource in (*RESOURCES[name], _KUSTOMIZATION):
            path = folder / name / f"{resource}.yaml"
            path.write_text(_filled(name, resource, values))
            written.append(path)
    return written


def _folders(is_with_monitors: bool) -> tuple[str, ...]:
    return (BASE, OPERATOR) if is_with_monitors else (BASE,)


def _filled(folder: str, name: str, values: Values) -> str:
    template = (_TEMPLATES / folder / f"{name}.yaml").read_text()
    label, _, value = values.node_label.partition("=")
    return Template(template).substitute(asdict(values), node_label_name=label, node_label_value=value)
