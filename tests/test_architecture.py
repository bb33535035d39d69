"""The dependency map of ARCHITECTURE.md, enforced: imports point inwards and each foreign package has one home."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "heflwr"

MAY_IMPORT: dict[str, set[str]] = {
    "heflwr": set(),
    "heflwr.__main__": {"heflwr.cli"},
    "heflwr.log": set(),
    "heflwr.quantities": set(),
    "heflwr.exposition": {"heflwr.monitor.arguments", "heflwr.monitor.errors"},
    "heflwr.monitor.errors": set(),
    "heflwr.monitor.clock": set(),
    "heflwr.monitor.metrics": set(),
    "heflwr.monitor.sample": {"heflwr.monitor.metrics"},
    "heflwr.monitor.summary": {"heflwr.monitor.metrics", "heflwr.monitor.sample"},
    "heflwr.monitor.history": {"heflwr.monitor.metrics", "heflwr.monitor.sample"},
    "heflwr.monitor.probes": {"heflwr.monitor.errors", "heflwr.monitor.sample"},
    "heflwr.monitor.sinks": {
        "heflwr",
        "heflwr.exposition",
        "heflwr.monitor.arguments",
        "heflwr.monitor.errors",
        "heflwr.monitor.metrics",
        "heflwr.monitor.sample",
    },
    "heflwr.monitor.plan": {"heflwr.monitor.metrics", "heflwr.monitor.probes", "heflwr.monitor.sinks"},
    "heflwr.monitor.sampling": {
        "heflwr",
        "heflwr.monitor.clock",
        "heflwr.monitor.errors",
        "heflwr.monitor.plan",
        "heflwr.monitor.probes",
        "heflwr.monitor.sample",
        "heflwr.monitor.sinks",
    },
    "heflwr.monitor.recording": {
        "heflwr.monitor.history",
        "heflwr.monitor.metrics",
        "heflwr.monitor.sample",
        "heflwr.monitor.sampling",
        "heflwr.monitor.summary",
    },
    "heflwr.monitor.runners": {
        "heflwr.monitor.errors",
        "heflwr.monitor.plan",
        "heflwr.monitor.probes",
        "heflwr.monitor.recording",
        "heflwr.monitor.sample",
        "heflwr.monitor.sampling",
    },
    "heflwr.monitor.session": {
        "heflwr.monitor.metrics",
        "heflwr.monitor.plan",
        "heflwr.monitor.recording",
        "heflwr.monitor.runners",
    },
    "heflwr.monitor.window": {
        "heflwr.monitor.metrics",
        "heflwr.monitor.recording",
        "heflwr.monitor.session",
        "heflwr.monitor.summary",
    },
    "heflwr.monitor.arguments": set(),
    "heflwr.monitor.high_water": set(),
    "heflwr.monitor.wsgi": {
        "heflwr.exposition",
        "heflwr.monitor.arguments",
        "heflwr.monitor.errors",
        "heflwr.monitor.high_water",
    },
    "heflwr.callbacks": {"heflwr.monitor", "heflwr.monitor.metrics"},
    "heflwr.monitor.health": set(),
    "heflwr.monitor.running": set(),
    "heflwr.monitor.monitor": {
        "heflwr.monitor.arguments",
        "heflwr.monitor.health",
        "heflwr.monitor.running",
        "heflwr.monitor.history",
        "heflwr.monitor.metrics",
        "heflwr.monitor.plan",
        "heflwr.monitor.probes",
        "heflwr.monitor.runners",
        "heflwr.monitor.session",
        "heflwr.monitor.sinks",
        "heflwr.monitor.summary",
        "heflwr.monitor.window",
    },
    "heflwr.monitor": {
        "heflwr.monitor.health",
        "heflwr.monitor.errors",
        "heflwr.monitor.monitor",
        "heflwr.monitor.summary",
        "heflwr.monitor.window",
    },
    "heflwr.monitor._facades": {"heflwr.monitor.monitor", "heflwr.monitor.sinks"},
    "heflwr.monitor.process_monitor": {"heflwr.monitor._facades"},
    "heflwr.monitor.thread_monitor": {"heflwr.monitor._facades"},
    "heflwr.collector": {"heflwr", "heflwr.monitor.metrics"},
    "heflwr.flower.cost": {"heflwr.monitor.metrics", "heflwr.monitor"},
    "heflwr.flower.entry": {"heflwr.flower.cost"},
    "heflwr.flower.records": {"heflwr.flower.cost"},
    "heflwr.flower.history": {"heflwr", "heflwr.flower.cost", "heflwr.flower.entry"},
    "heflwr.flower.watch": {
        "heflwr.automon",
        "heflwr.automon.alerts",
        "heflwr.automon.answer",
        "heflwr.automon.checkpoint",
        "heflwr.automon.errors",
        "heflwr.automon.fleet",
        "heflwr.automon.function",
        "heflwr.automon.protocols",
        "heflwr.automon.wire",
        "heflwr.automon.zones",
        "heflwr.flower.entry",
        "heflwr.flower.history",
        "heflwr.flower.records",
        "heflwr.live",
        "heflwr.monitor.arguments",
    },
    "heflwr.flower.client": {
        "heflwr.automon.fleet",
        "heflwr.flower.cost",
        "heflwr.flower.watch",
        "heflwr.flower.records",
        "heflwr.monitor",
        "heflwr.monitor.arguments",
        "heflwr.monitor.high_water",
        "heflwr.monitor.metrics",
        "heflwr.monitor.monitor",
        "heflwr.monitor.probes",
        "heflwr.monitor.sample",
        "heflwr.monitor.sinks",
    },
    "heflwr.flower.server": {
        "heflwr.automon.fleet",
        "heflwr.exposition",
        "heflwr.flower.watch",
        "heflwr.live",
        "heflwr.flower.cost",
        "heflwr.flower.entry",
        "heflwr.flower.history",
        "heflwr.flower.records",
        "heflwr.monitor",
        "heflwr.monitor.arguments",
        "heflwr.monitor.metrics",
        "heflwr.monitor.sample",
        "heflwr.monitor.sinks",
        "heflwr.quantities",
    },
    "heflwr.flower": {
        "heflwr.flower.client",
        "heflwr.flower.entry",
        "heflwr.flower.history",
        "heflwr.flower.server",
        "heflwr.flower.watch",
    },
    "heflwr.k8s": {"heflwr"},
    "heflwr.automon.errors": set(),
    "heflwr.automon.arguments": set(),
    "heflwr.automon.answer": set(),
    "heflwr.automon.box": set(),
    "heflwr.automon.alerts": {"heflwr.automon.answer"},
    "heflwr.automon.tuning": set(),
    "heflwr.automon.relaxations": set(),
    "heflwr.automon.signals": set(),
    "heflwr.automon.program": {"heflwr.automon.errors"},
    "heflwr.automon.lowering": {"heflwr.automon.errors", "heflwr.automon.program"},
    "heflwr.automon.structure": {"heflwr.automon.lowering"},
    "heflwr.automon.convexity": {"heflwr.automon.lowering"},
    "heflwr.automon.affine_bounds": {"heflwr.automon.errors", "heflwr.automon.program", "heflwr.automon.relaxations"},
    "heflwr.automon.backends": {
        "heflwr.automon.convexity",
        "heflwr.automon.errors",
        "heflwr.automon.lowering",
        "heflwr.automon.program",
        "heflwr.automon.structure",
    },
    "heflwr.automon.zones": {"heflwr.automon.box"},
    "heflwr.automon.forms": {"heflwr.automon.errors", "heflwr.automon.zones"},
    "heflwr.automon.function": {
        "heflwr.automon.backends",
        "heflwr.automon.box",
        "heflwr.automon.errors",
        "heflwr.automon.forms",
        "heflwr.automon.program",
    },
    "heflwr.automon.spectrum": {"heflwr.automon.function"},
    "heflwr.automon.curvature": {"heflwr.automon.box", "heflwr.automon.function", "heflwr.automon.spectrum"},
    "heflwr.automon.messages": {"heflwr.automon.zones"},
    "heflwr.automon.report": {"heflwr.automon.answer", "heflwr.automon.zones"},
    "heflwr.automon.protocols": {
        "heflwr.automon.affine_bounds",
        "heflwr.automon.answer",
        "heflwr.automon.arguments",
        "heflwr.automon.box",
        "heflwr.automon.curvature",
        "heflwr.automon.errors",
        "heflwr.automon.forms",
        "heflwr.automon.function",
        "heflwr.automon.messages",
        "heflwr.automon.zones",
    },
    "heflwr.automon.coordinator": {
        "heflwr.automon.answer",
        "heflwr.automon.arguments",
        "heflwr.automon.function",
        "heflwr.automon.messages",
        "heflwr.automon.protocols",
    },
    "heflwr.automon.wire": {"heflwr.automon.errors"},
    "heflwr.automon.zone_format": {"heflwr.automon.errors", "heflwr.automon.wire", "heflwr.automon.zones"},
    "heflwr.automon.codec": {
        "heflwr.automon.errors",
        "heflwr.automon.messages",
        "heflwr.automon.signals",
        "heflwr.automon.wire",
        "heflwr.automon.zone_format",
        "heflwr.automon.zones",
    },
    "heflwr.automon.checkpoint": {
        "heflwr.automon.codec",
        "heflwr.automon.errors",
        "heflwr.automon.messages",
        "heflwr.automon.protocols",
        "heflwr.automon.wire",
        "heflwr.automon.zones",
    },
    "heflwr.automon.transports": {
        "heflwr.automon.answer",
        "heflwr.automon.checkpoint",
        "heflwr.automon.codec",
        "heflwr.automon.coordinator",
        "heflwr.automon.errors",
        "heflwr.automon.function",
        "heflwr.automon.messages",
        "heflwr.automon.protocols",
        "heflwr.automon.signals",
        "heflwr.automon.zones",
        "heflwr.automon.zone_format",
    },
    "heflwr.automon.simulation": {
        "heflwr.automon.codec",
        "heflwr.automon.function",
        "heflwr.automon.messages",
        "heflwr.automon.protocols",
        "heflwr.automon.report",
        "heflwr.automon.tuning",
        "heflwr.automon.zones",
    },
    "heflwr.automon.oracle": {"heflwr.automon.arguments", "heflwr.automon.function", "heflwr.automon.zones"},
    "heflwr.automon.fleet": {
        "heflwr.automon.alerts",
        "heflwr.automon.answer",
        "heflwr.automon.box",
        "heflwr.automon.errors",
        "heflwr.automon.forms",
        "heflwr.automon.function",
        "heflwr.automon.program",
        "heflwr.automon.zones",
    },
    "heflwr.automon": {
        "heflwr.automon.answer",
        "heflwr.automon.box",
        "heflwr.automon.coordinator",
        "heflwr.automon.fleet",
        "heflwr.automon.forms",
        "heflwr.automon.function",
        "heflwr.automon.protocols",
        "heflwr.automon.report",
        "heflwr.automon.simulation",
    },
    "heflwr.live": {
        "heflwr",
        "heflwr.automon",
        "heflwr.automon.alerts",
        "heflwr.automon.checkpoint",
        "heflwr.automon.codec",
        "heflwr.automon.errors",
        "heflwr.automon.fleet",
        "heflwr.automon.messages",
        "heflwr.automon.transports",
        "heflwr.automon.wire",
        "heflwr.automon.zones",
        "heflwr.exposition",
        "heflwr.monitor",
        "heflwr.monitor.arguments",
        "heflwr.monitor.metrics",
        "heflwr.monitor.sample",
    },
    "heflwr.cli": {
        "heflwr.k8s",
        "heflwr",
        "heflwr.collector",
        "heflwr.flower.history",
        "heflwr.live",
        "heflwr.monitor",
        "heflwr.monitor.arguments",
        "heflwr.monitor.errors",
        "heflwr.monitor.metrics",
        "heflwr.monitor.sample",
        "heflwr.monitor.sinks",
        "heflwr.quantities",
    },
}
"""What each module or folder may import from heflwr, besides what is in its own folder."""

HOMES: dict[str, set[str]] = {
    "psutil": {"heflwr.monitor.probes"},
    "pynvml": {"heflwr.monitor.probes"},
    "prometheus_client": {"heflwr.collector"},
    "requests": {"heflwr.monitor.sinks"},
    "google": {"heflwr.monitor.sinks"},
    "grpc": {"heflwr.monitor.sinks"},
    "opentelemetry": {"heflwr.monitor.sinks"},
    "keras": {"heflwr.callbacks"},
    "lightning": {"heflwr.callbacks"},
    "mlflow": {"heflwr.callbacks"},
    "pytorch_lightning": {"heflwr.callbacks"},
    "transformers": {"heflwr.callbacks"},
    "flask": {"heflwr.collector"},
    "werkzeug": {"heflwr.collector"},
    "waitress": {"heflwr.collector"},
    "jax": {"heflwr.automon.backends"},
    "autograd": {"heflwr.automon.backends"},
    "zmq": {"heflwr.automon.transports"},
    "numpy": {
        "heflwr.automon.affine_bounds",
        "heflwr.automon.backends",
        "heflwr.automon.box",
        "heflwr.automon.checkpoint",
        "heflwr.automon.codec",
        "heflwr.automon.convexity",
        "heflwr.automon.curvature",
        "heflwr.automon.fleet",
        "heflwr.automon.forms",
        "heflwr.automon.function",
        "heflwr.automon.lowering",
        "heflwr.automon.oracle",
        "heflwr.automon.program",
        "heflwr.automon.protocols",
        "heflwr.automon.relaxations",
        "heflwr.automon.report",
        "heflwr.automon.simulation",
        "heflwr.automon.spectrum",
        "heflwr.automon.structure",
        "heflwr.automon.transports",
        "heflwr.automon.tuning",
        "heflwr.automon.wire",
        "heflwr.automon.zone_format",
        "heflwr.automon.zones",
        "heflwr.flower.watch",
        "heflwr.live",
    },
    "flwr": {
        "heflwr.flower",
        "heflwr.flower.client",
        "heflwr.flower.records",
        "heflwr.flower.server",
        "heflwr.flower.watch",
    },
    "pandas": {"heflwr.monitor.monitor", "heflwr.flower.history"},
    "psycopg": {"heflwr.collector"},
    "pyarrow": {"heflwr.collector", "heflwr.flower.history"},
    "matplotlib": {"heflwr.automon.report", "heflwr.cli", "heflwr.flower.history"},
    "rich": {"heflwr.cli", "heflwr.flower.server"},
}
"""Where each foreign package may be imported."""


def modules() -> list[tuple[str, Path]]:
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return names


def home(module: str) -> str:
    """Return the entry of the map that a module belongs to: itself, or the nearest folder."""
    while module not in MAY_IMPORT:
        module, _, _ = module.rpartition(".")
    return module


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            is_folder = (ROOT / Path(*node.module.split("."))).is_dir()
            found |= {name for name in names if is_module(name)} if is_folder else set()
            if not is_folder or not all(is_module(name) for name in names):
                found.add(node.module)
    return found


def is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_what_the_map_allows(module: str, path: Path) -> None:
    """Inside heflwr, imports point inwards; outside, a package is imported in its one home."""
    own = home(module)
    for imported in imports(path):
        top = imported.partition(".")[0]
        if top == "heflwr":
            target = home(imported)
            assert target == own or target in MAY_IMPORT[own], f"{module} imports {imported}"
        elif top not in sys.stdlib_module_names:
            assert top in HOMES, f"{module} imports {imported}, which has no home"
            assert own in HOMES[top], f"{module} imports {imported}, whose home is {HOMES[top]}"


HEAVY = ["jax", "flwr", "flask", "torch", "numpy", "pandas", "requests", "prometheus_client", "psutil", "subprocess"]


@pytest.mark.parametrize(
    "module", ["heflwr.monitor", "heflwr.monitor.process_monitor", "heflwr.monitor.thread_monitor"]
)
def test_importing_the_monitor_costs_nothing_else(module: str) -> None:
    """A fresh interpreter that imports the monitor has loaded no heavy package, started nothing and printed nothing."""
    code = (
        f"import sys, json, threading, {module}\n"
        f"print(json.dumps([[name for name in {HEAVY} if name in sys.modules], threading.active_count()]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [[], 1] == json.loads(result.stdout)
    assert result.stderr == ""


@pytest.mark.parametrize("module", ["checks", "endpoint", "server", "text"])
def test_each_module_of_the_exposition_can_be_imported_first(module: str) -> None:
    """The monitor's sinks import these, and these the monitor's errors: whoever comes first, there is no circle."""
    code = f"import heflwr.exposition.{module}, heflwr.monitor.sinks.prometheus"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_prometheus_sink_that_is_not_open_loads_no_server() -> None:
    """A trainer that hands its sink to the sampling child has no HTTP, TLS or sockets of ours in its memory."""
    code = (
        "import sys, json; from heflwr.monitor.sinks.prometheus import PrometheusSink; PrometheusSink(0)\n"
        "print(json.dumps([name for name in ('http', 'ssl', 'socketserver', 'socket') if name in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [] == json.loads(result.stdout)
