"""Other people's monitors, in environments of their own below `.bench/`: made when missing, kept afterwards.

The pip that installed heflwr installs them too, so it finds packages wherever it is configured to.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = {
    "codecarbon": "codecarbon",
    "opentelemetry.instrumentation.system_metrics": "opentelemetry-instrumentation-system-metrics",
    "opentelemetry.sdk.metrics": "opentelemetry-sdk",
    "psrecord": "psrecord",
    # What heflwr 0.1.9's monitors import; itself it is installed apart, since its package is named like ours.
    "psutil": "psutil",
    "prometheus_client": "prometheus-client",
    "requests": "requests",
}
_ANCESTOR = "heflwr==0.1.9"
_INSTALL_SECONDS = 300.0
"""Longest that one installation may take before its peer is left out."""


@dataclass(frozen=True)
class Environments:
    """Where candidates run.

    Attributes:
        python: Interpreter with the peers' packages, None where there is none.
        ancestor: Directory that holds heflwr 0.1.9, None where there is none.
        versions: Version of each peer's package.
        absent: A line for each package that could not be had, with the reason.
    """

    python: Path | None
    ancestor: Path | None
    versions: dict[str, str]
    absent: list[str]


def prepare(folder: Path) -> Environments:
    """Make sure that the peers are installed, each as far as it can be had; tells on stderr what it installs."""
    folder.mkdir(exist_ok=True)
    home = folder / "peers"
    python = home / "bin" / "python"
    if not python.exists():
        _say(f"making {home}")
        venv.create(home)
    absent = []
    for module, package in _PACKAGES.items():
        if not _imports(python, module):
            _say(f"installing {package}")
            if reason := _pip(python, package):
                absent.append(f"{package}: not installed ({reason})")
    ancestor = folder / "ancestor"
    if not (ancestor / "heflwr").is_dir():
        _say(f"installing {_ANCESTOR}")
        if reason := _pip(python, "--no-deps", "--target", str(ancestor), _ANCESTOR):
            absent.append(f"{_ANCESTOR}: not installed ({reason})")
    return Environments(python, ancestor if (ancestor / "heflwr").is_dir() else None, _versions(python), absent)


def _imports(python: Path, module: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module.split('.')[0]!r}) is None)"
    if "." in module:
        code = f"import {module}"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def _pip(python: Path, *arguments: str) -> str:
    """Install; return "" or why it failed."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    command += ["install", "--quiet", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer within {_INSTALL_SECONDS:g} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors or ["pip failed"])[-1].removeprefix("ERROR: ")


def _versions(python: Path) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, m.version(name))\n"
        "    except m.PackageNotFoundError: pass"
    )
    done = subprocess.run([python, "-c", code, *_PACKAGES.values()], capture_output=True, text=True, check=False)
    return dict(line.split() for line in done.stdout.splitlines())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
