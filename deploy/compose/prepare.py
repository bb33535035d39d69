"""Make what the services know each other by: `python3 prepare.py`. Tokens that are there already stay as they are."""

from __future__ import annotations

import re
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / "secrets"

WITHOUT_TOKEN = r"# authorization: \{.*credentials_file: collector_token\}"
WITH_TOKEN = "authorization: {type: Bearer, credentials_file: /run/secrets/collector_token}"
"""A line of ../prometheus/prometheus.yml, and what stands in its place where the collector asks for a token. The type
is said although it is the default: Prometheus before 2.47 leaves it out where it looks for targets."""


def prepare(folder: Path = FOLDER) -> None:
    """Write the collector's token, also as a line of the environment, Grafana's password, Prometheus' configuration.

    The folder is its owner's alone. The files can be read by all: each container has a user of its own, and Docker
    mounts a file with the mode that it has.
    """
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)  # also one that was there
    token = _secret(folder / "collector_token")
    _secret(folder / "grafana_password")
    _write(folder / "collector.env", f"HEFLWR_COLLECTOR_TOKEN={token}\n")
    configuration = (HERE.parent / "prometheus" / "prometheus.yml").read_text()
    configuration, changes = re.subn(WITHOUT_TOKEN, WITH_TOKEN, configuration)
    if not changes:
        sys.exit(f"../prometheus/prometheus.yml has no line like {WITHOUT_TOKEN}: this collector asks for a token")
    _write(folder / "prometheus.yml", configuration)


def _secret(path: Path) -> str:
    if not path.exists() or not path.read_text():
        _write(path, secrets.token_hex(32))
    return path.read_text()


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)


if __name__ == "__main__":
    prepare()
