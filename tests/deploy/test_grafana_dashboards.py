"""The dashboards as files: written by the generator, of Grafana's schema, and at one with each other."""

from __future__ import annotations

import copy
import enum
import functools
import itertools
import json
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_panels import BUILT_IN, DASHBOARDS, ROOT, dashboards, names_in, panels

from heflwr.monitor.metrics import METRICS, Kind

GRAFANA = ROOT / "deploy" / "grafana"
UIDS = ["heflwr-automon", "heflwr-client", "heflwr-fleet", "heflwr-rounds"]
COLUMNS = 24
"""Of the grid that panels stand on."""

UNITS = {value for name, value in vars(units).items() if name[0].isupper() and isinstance(value, str)}

BY_UID = {dashboard["uid"]: dashboard for dashboard in dashboards()}

every_dashboard = pytest.mark.parametrize("dashboard", BY_UID.values(), ids=BY_UID)


def strange(value: object, hint: Any, at: str) -> Iterator[str]:
    """Yield where a decoded value is not of the type that Grafana's schema gives it.

    The SDK decodes every object of the schema into a class of its own, but takes any value for a field.
    """
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        attempts = [list(strange(value, option, at)) for option in inner if option is not types.NoneType]
        if value is not None and all(attempts):
            yield from max(attempts, key=lambda found: max(map(len, found)))  # the option that fits furthest
    elif kind is typing.Literal:
        if value not in inner:
            yield f"{at}: {value!r} is none of {inner}"
    elif kind in (list, dict):
        if not isinstance(value, kind):
            yield f"{at}: {value!r} is no {kind.__name__}"
            return
        items = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in items:
            yield from strange(item, inner[-1], f"{at}[{key!r}]")
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in {member.value for member in hint}:
            yield f"{at}: {value!r} is none of {[member.value for member in hint]}"
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{at}: {value!r} is no number"
    elif isinstance(value, dict) and of_schema(hint):  # the SDK left it as it was
        decoded = hint.from_json(value)
        yield from differences(value, json.loads(json.dumps(decoded, cls=JSONEncoder)), at)
        yield from strange(decoded, hint, at)
    elif isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        yield f"{at}: {value!r} is no {hint.__name__}"
    if of_schema(type(value)):
        for name, field in fields(type(value)).items():
            yield from strange(getattr(value, name), field, f"{at}.{name}")


@functools.cache
def fields(kind: type) -> dict[str, Any]:
    """Return the fields of one of the schema's objects, and their types."""
    return typing.get_type_hints(kind)


def of_schema(kind: Any) -> bool:
    """Tell whether a type is one of the schema's objects."""
    return (
        isinstance(kind, type) and hasattr(kind, "from_json") and kind.__module__.startswith("grafana_foundation_sdk")
    )


def faults(dashboard: dict[str, Any]) -> list[str]:
    """Return what is not as Grafana's schema has it: unknown names, missing ones, values of another type."""
    register_default_plugins()
    decoded = Dashboard.from_json(copy.deepcopy(dashboard))
    again = json.loads(json.dumps(decoded, cls=JSONEncoder))
    return [*strange(decoded, Dashboard, "dashboard"), *differences(dashboard, again, "dashboard")]


def differences(before: object, after: object, at: str) -> Iterator[str]:
    """Yield where something was lost by decoding: a name that the schema does not have. It may put in defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from differences(value, after.get(key, "nothing"), f"{at}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{at}[{place}]")
    elif before != after:
        yield f"{at}: {before!r} became {after!r}"


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    """Who changes the generator, or a table that it reads, runs `python deploy/grafana/generate.py`."""
    subprocess.run([sys.executable, str(GRAFANA / "generate.py"), "--out", str(tmp_path)], check=True, timeout=60)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert [f"{uid}.json" for uid in UIDS] == sorted(written)
    assert written == {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()}


@every_dashboard
def test_a_dashboard_is_of_grafana_s_schema(dashboard: dict[str, Any]) -> None:
    """Decoded by Grafana's own SDK nothing is lost, and every field has a value of the schema's type."""
    assert [] == faults(dashboard)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("refresj",), "10s", "dashboard.refresj"),
        (("panels", 0, "options", "colourMode"), "value", "colourMode"),
        (("panels", 0, "options", "colorMode"), "colourful", "color_mode: 'colourful' is none of"),
        (("panels", 0, "gridPos", "w"), "wide", "grid_pos.w: 'wide' is no int"),
        (("panels", 0, "targets", 0, "expression"), "up", "targets[0].expression"),
        (("panels", 0, "fieldConfig", "defaults", "min"), "low", "min_val: 'low' is no number"),
    ],
)
def test_what_is_not_of_the_schema_is_found(path: tuple[str | int, ...], value: object, fault: str) -> None:
    """An unknown name, a value that is no choice, or one of another type."""
    spoilt: Any = copy.deepcopy(BY_UID["heflwr-fleet"])
    place = spoilt
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert [found for found in faults(spoilt) if fault in found]


@every_dashboard
def test_panels_stand_beside_one_another(dashboard: dict[str, Any]) -> None:
    """None is over another or beyond the edge, and each has a number of its own."""
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    everything = [*rows, *panels(dashboard)]
    assert len({panel["id"] for panel in everything}) == len(everything)
    closed = [row["panels"] for row in rows if row["collapsed"]]
    for together in (dashboard["panels"], *closed):
        taken: set[tuple[int, int]] = set()
        for panel in together:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert max(x for x, _ in cells) < COLUMNS, panel["title"]
            assert not taken & cells, panel["title"]
            taken |= cells


@every_dashboard
def test_every_panel_says_what_it_shows(dashboard: dict[str, Any]) -> None:
    """A title, a sentence, a unit that Grafana knows, and the data source that is chosen at the top."""
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(titles) == len(set(titles))
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        settings = [panel["fieldConfig"]["defaults"].get("unit", "short")] if "fieldConfig" in panel else []
        overrides = panel.get("fieldConfig", {}).get("overrides", ())
        settings += [each["value"] for one in overrides for each in one["properties"] if each["id"] == "unit"]
        assert set(settings) <= UNITS, panel["title"]


@every_dashboard
def test_every_variable_that_is_used_is_there(dashboard: dict[str, Any]) -> None:
    """In expressions, in titles and in other variables' queries."""
    listed = dashboard["templating"]["list"]
    known = {variable["name"] for variable in listed} | BUILT_IN.keys()
    texts = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    texts += [panel["title"] for panel in panels(dashboard)]
    texts += [variable["query"] for variable in listed if variable["type"] == "query"]
    assert [] == [text for text in texts if not names_in(text) <= known]


def test_every_link_leads_to_a_dashboard_that_has_its_variables() -> None:
    """A row of a table leads to the client, and sets what is to be chosen there."""
    urls = set(re.findall(r'/d/[^"]*(?:\\"[^"]*)*', "".join(json.dumps(one) for one in BY_UID.values())))
    assert 3 == len(urls)
    for url in urls:
        uid = re.match(r"/d/([\w-]+)\?", url)
        assert uid is not None, url
        known = {variable["name"] for variable in BY_UID[uid[1]]["templating"]["list"]}
        named = set(re.findall(r"var-(\w+)=", url)) | set(re.findall(r"\$\{(\w+):queryparam\}", url))
        assert named <= known, url


def test_every_metric_of_a_monitor_is_in_the_client_detail() -> None:
    """A new line of the metric table is a new panel."""
    expressions = " ".join(target["expr"] for panel in panels(BY_UID["heflwr-client"]) for target in panel["targets"])
    for metric in METRICS:
        if metric.prometheus is not None:
            assert f"{metric.prometheus.name}{'_total' * (metric.kind is Kind.DELTA)}{{" in expressions


def test_dashboards_hold_together() -> None:
    """One tag, one rhythm, links to one another that keep the time, and addresses that never change."""
    assert UIDS == sorted(BY_UID)
    for dashboard in BY_UID.values():
        assert ["heflwr"] == dashboard["tags"]
        assert "10s" == dashboard["refresh"]
        (link,) = dashboard["links"]
        assert ["heflwr"] == link["tags"]
        assert link["keepTime"]
        assert link["includeVars"]  # so that a variable must mean the same everywhere
    variables = [variable for dashboard in BY_UID.values() for variable in dashboard["templating"]["list"]]
    for one, other in itertools.combinations(variables, 2):
        assert one["name"] != other["name"] or one == other


def test_provisioning_names_one_data_source_and_the_folder() -> None:
    """The data source is a Prometheus with the interval that rates need; no dashboard is bound to it."""
    (source,) = read("datasources")["datasources"]
    assert ("prometheus", "heflwr-prometheus", "http://prometheus:9090") == tuple(
        source[key] for key in ("type", "uid", "url")
    )
    assert re.fullmatch(r"\d+s", source["jsonData"]["timeInterval"])
    assert not any(source["uid"] in path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir())
    (provider,) = read("dashboards")["providers"]
    assert ("file", "/var/lib/grafana/dashboards") == (provider["type"], provider["options"]["path"])


def read(kind: str) -> dict[str, Any]:
    """Return what is provisioned of a kind."""
    content: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / kind / "heflwr.yaml").read_text())
    assert 1 == content["apiVersion"]
    return content
