"""deploy/kubernetes: what the templates give, valid for every version of Kubernetes, and with no rights to spare."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from containers import compose

from heflwr.cli import main
from heflwr.k8s import Values, render, write

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSIONS = ("1.27", "1.30", "1.33", "1.37")
"""Those with gRPC probes, from the oldest that anybody runs to the newest whose schemas there are."""

MONITORING = "monitoring.coreos.com/v1"

MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all(render(Values())))
STANDARD = [manifest for manifest in MANIFESTS if manifest["apiVersion"] != MONITORING]
MONITORS = [manifest for manifest in MANIFESTS if manifest["apiVersion"] == MONITORING]
WORKLOADS = [manifest for manifest in MANIFESTS if manifest["kind"] in ("StatefulSet", "Deployment", "DaemonSet")]


def named(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=named)


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]
    return found


def pods(selector: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the workloads whose pods a label selector selects."""
    wanted = selector.get("matchLabels", {}).items()
    return [one for one in WORKLOADS if wanted <= one["spec"]["template"]["metadata"]["labels"].items()]


def ports(workload: dict[str, Any]) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for one in pod(workload)["containers"] for port in one["ports"]}


def test_the_folder_is_what_the_templates_give(tmp_path: Path) -> None:
    """Whoever changes a template renders it: heflwr k8s render --out deploy/kubernetes."""
    rendered = {path.relative_to(tmp_path): path.read_text() for path in write(Values(), tmp_path)}
    assert rendered == {path.relative_to(FOLDER): path.read_text() for path in FOLDER.rglob("*.yaml")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", STANDARD, ids=named)
def test_a_manifest_is_valid(manifest: dict[str, Any], version: str) -> None:
    """By the API's own schema, with no key that it does not know."""
    kubernetes_validate.validate(manifest, version, strict=True)


def test_an_unknown_key_is_found() -> None:
    """The schemas are strict."""
    wrong = {**STANDARD[0], "spec": {"finalizer": []}}
    with pytest.raises(kubernetes_validate.ValidationError, match="finalizer"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("folder", ["base", "prometheus-operator"])
def test_kustomize_builds_it(folder: str) -> None:
    """`kubectl apply -k` takes the same manifests that `heflwr k8s render` prints."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl here")
    built = subprocess.run([kubectl, "kustomize", FOLDER / folder], capture_output=True, text=True, check=True)
    expected = MANIFESTS if folder == "prometheus-operator" else STANDARD
    assert sorted(expected, key=named) == sorted(yaml.safe_load_all(built.stdout), key=named)


@pytest.mark.parametrize("kustomization", sorted(FOLDER.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_a_kustomization_names_every_file_beside_it(kustomization: Path) -> None:
    """None is missing, and none is left out."""
    resources = set(yaml.safe_load(kustomization.read_text())["resources"])
    beside = {path.name for path in kustomization.parent.glob("*.yaml")} - {kustomization.name}
    assert beside == {name for name in resources if name.endswith(".yaml")}
    assert all((kustomization.parent / name / "kustomization.yaml").exists() for name in resources - beside)


@each_workload
def test_a_pod_keeps_to_the_restricted_standard(workload: dict[str, Any]) -> None:
    """What the namespace enforces (Pod Security Standards, restricted), and a root that nobody writes."""
    spec = pod(workload)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert {"type": "RuntimeDefault"} == spec["securityContext"]["seccompProfile"]
    assert all("emptyDir" in volume for volume in spec["volumes"])
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert {"drop": ["ALL"]} == security["capabilities"]
        assert not [port for port in container["ports"] if "hostPort" in port]
    labels = STANDARD[0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@each_workload
def test_a_container_is_probed_and_bounded(workload: dict[str, Any]) -> None:
    """Started, ready, alive; so much of a core and of memory; every place that it writes to is a volume."""
    claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])]
    volumes = {volume["name"] for volume in pod(workload)["volumes"]} | set(claims)
    for container in pod(workload)["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container[probe].get("httpGet", container[probe].get("grpc"))["port"]
            assert port in {*ports(workload), *ports(workload).values()}
        assert {"cpu", "memory"} == set(container["resources"]["requests"]) == set(container["resources"]["limits"])
        assert volumes == {mount["name"] for mount in container["volumeMounts"]}


@each_workload
def test_flags_are_those_that_have_been_run(workload: dict[str, Any]) -> None:
    """The programs and flags are among those of the services of deploy/compose, which a test starts."""
    (container,) = pod(workload)["containers"]
    service = compose()["services"][{"supernode": "supernode-0"}.get(container["name"], container["name"])]
    known = {word.partition("=")[0] for word in service["command"]}
    assert {word.partition("=")[0] for word in container["args"]} <= known
    assert f"registry.example/{service['image']}" == container["image"]


def test_services_and_monitors_select_what_there_is() -> None:
    """Each selects one workload, by labels that its pods have, and names ports that they have."""
    for service in (one for one in STANDARD if one["kind"] == "Service"):
        (workload,) = pods({"matchLabels": service["spec"]["selector"]})
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports(workload))
        assert all(port["port"] == ports(workload)[port["targetPort"]] for port in service["spec"]["ports"])
    services = {named(one): one for one in STANDARD}
    for monitor in MONITORS:
        (workload,) = pods(monitor["spec"]["selector"])
        if monitor["kind"] == "PodMonitor":
            known = set(ports(workload))
        else:
            service = services[f"Service-{workload['metadata']['name']}"]
            assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
            known = {port["name"] for port in service["spec"]["ports"]}
        endpoints = monitor["spec"]["podMetricsEndpoints" if monitor["kind"] == "PodMonitor" else "endpoints"]
        assert {endpoint["port"] for endpoint in endpoints} <= known


MONITOR_KEYS = {
    "ServiceMonitor": ("endpoints", {"port", "path", "interval", "authorization", "relabelings"}),
    "PodMonitor": ("podMetricsEndpoints", {"port", "path", "interval", "authorization", "relabelings"}),
}
"""Of the Prometheus Operator's API, what is used here; an API server prunes or refuses what it does not know."""


@pytest.mark.parametrize("monitor", MONITORS, ids=named)
def test_a_monitor_has_the_shape_of_the_operators(monitor: dict[str, Any]) -> None:
    """Its schema is in no package for Python: the keys are held to a list, which was checked against it once."""
    endpoints, keys = MONITOR_KEYS[monitor["kind"]]
    assert {"apiVersion", "kind", "metadata", "spec"} == set(monitor)
    assert {"selector", endpoints} == set(monitor["spec"])
    for endpoint in monitor["spec"][endpoints]:
        assert {"port", "interval"} <= set(endpoint) <= keys
        for relabeling in endpoint["relabelings"]:
            assert {"targetLabel"} < set(relabeling) <= {"sourceLabels", "targetLabel", "replacement"}


def test_the_rules_know_these_jobs() -> None:
    """The alert rules ask for jobs by name: the monitors' are those of deploy/prometheus/prometheus.yml."""
    given = yaml.safe_load((FOLDER.parent / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    jobs = [
        relabeling["replacement"]
        for monitor in MONITORS
        for endpoint in monitor["spec"].get("endpoints", []) + monitor["spec"].get("podMetricsEndpoints", [])
        for relabeling in endpoint["relabelings"]
        if relabeling["targetLabel"] == "job"
    ]
    assert len(MONITORS) == len(jobs)
    assert set(jobs) <= {job["job_name"] for job in given}


def allowed(policies: list[dict[str, Any]], direction: str, source: dict[str, Any], target: dict[str, Any]) -> set[str]:
    """Return the ports of `target` that pods of `source` may reach, as far as policies of this direction say it.

    Args:
        policies: Of the namespace.
        direction: "ingress", or "egress".
        source: A workload, or a namespace's labels.
        target: A workload.
    """
    own, peer, key = (target, source, "from") if direction == "ingress" else (source, target, "to")
    found: set[str] = set()
    for policy in policies:
        if own not in pods(policy["spec"]["podSelector"]):
            continue
        for rule in policy["spec"].get(direction, []):
            for where in rule[key]:
                selector = where.get("podSelector", where.get("namespaceSelector"))
                labels = peer.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", peer)
                expressions = selector.get("matchExpressions", [])
                if selector.get("matchLabels", {}).items() <= labels.items() and all(
                    labels.get(one["key"]) in one["values"] for one in expressions
                ):
                    found |= {port["port"] for port in rule["ports"]}
    return found & set(ports(target))


def test_only_those_speak_who_have_to() -> None:
    """Of the nine paths between workloads three are open, at both ends; Prometheus' are to what it scrapes."""
    policies = [one for one in STANDARD if one["kind"] == "NetworkPolicy"]
    (deny,) = [one for one in policies if one["spec"]["podSelector"] == {}]
    assert ["Ingress", "Egress"] == deny["spec"]["policyTypes"]
    assert "ingress" not in deny["spec"]
    by_name = {one["metadata"]["name"]: one for one in WORKLOADS}
    paths = {
        (source, target): allowed(policies, "egress", by_name[source], by_name[target])
        & allowed(policies, "ingress", by_name[source], by_name[target])
        for source in by_name
        for target in by_name
    }
    expected = {
        ("supernode", "superlink"): {"flower"},
        ("supernode", "collector"): {"http"},
        ("superlink", "collector"): {"http"},
    }
    assert expected == {path: open_ports for path, open_ports in paths.items() if open_ports}
    prometheus = {"kubernetes.io/metadata.name": Values().prometheus_namespace}
    scraped = {name: allowed(policies, "ingress", prometheus, one) for name, one in by_name.items()}
    assert {"collector": {"http"}, "superlink": {"rounds"}, "supernode": {"metrics"}} == scraped


def test_the_collectors_token_is_only_named() -> None:
    """No Secret is among the manifests; who needs the token names the Secret and its key."""
    assert "Secret" not in {one["kind"] for one in MANIFESTS}
    text = render(Values(token_secret="other-secret"))
    assert 3 == text.count('"other-secret"')
    assert "heflwr-collector" not in text.replace("replacement: heflwr-collector", "")


def test_the_command_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """`heflwr k8s render` without options: base and monitors as one stream."""
    assert 0 == main(["k8s", "render"])
    assert MANIFESTS == list(yaml.safe_load_all(capsys.readouterr().out))
