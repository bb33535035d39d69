"""A real Alertmanager for tests, the deployment's files made ready for it, and what tells the alerts that arrive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from programs import need
from prometheus_server import listening
from servers import FaultyServer, reply

DEPLOYMENT = Path(__file__).parents[1] / "deploy" / "prometheus"

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+)([smhd])")
_IN_EXPRESSION = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]")
_KEYS = re.compile(r"(for|keep_firing_for|group_wait|\w+_interval)")


class Webhook(FaultyServer):
    """Takes what an Alertmanager sends."""

    def __init__(self) -> None:
        super().__init__(lambda handler, body: reply(handler, 200))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What came so far, oldest first."""
        return [json.loads(body) for _, _, body in self.requests]

    def alerts(self, status: str) -> list[dict[str, Any]]:
        """Return the alerts that came with a status, "firing" or "resolved"."""
        return [alert for body in self.bodies for alert in body["alerts"] if alert["status"] == status]


def hasten(document: Any, times: int) -> Any:
    """Return a configuration or a file of rules whose clock runs so many times as fast: every duration is shorter.

    Expressions, thresholds and labels stay, so what is tested are the rules that are shipped. A number of seconds that
    is a threshold is no duration.
    """
    if isinstance(document, list):
        return [hasten(each, times) for each in document]
    if not isinstance(document, dict):
        return document
    return {key: _hastened(key, value, times) for key, value in document.items()}


def _hastened(key: str, value: Any, times: int) -> Any:
    if key == "expr":
        return _IN_EXPRESSION.sub(lambda found: _shorter(found[0], times), str(value))
    return _shorter(value, times) if _KEYS.fullmatch(key) else hasten(value, times)


def _shorter(duration: str, times: int) -> str:
    found = _DURATION.fullmatch(duration)
    assert found, duration
    return f"{int(found[1]) * _UNITS[found[2]] * 1000 // times}ms"


def deploy(folder: Path, times: int, addresses: Mapping[str, str]) -> None:
    """Write the deployment's files into a folder, hastened, with these addresses in place of those that are there."""
    for name in ("prometheus.yml", "alertmanager.yml", "targets/clients.json", *_rules()):
        text = (DEPLOYMENT / name).read_text()
        for old, new in addresses.items():
            text = text.replace(old, new)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(hasten(yaml.safe_load(text), times)))  # JSON is YAML


def _rules() -> list[str]:
    return [str(path.relative_to(DEPLOYMENT)) for path in sorted((DEPLOYMENT / "rules").glob("*.yml"))]


@contextmanager
def alertmanager(configuration: Path) -> Iterator[str]:
    """Run Alertmanager, alone; yields its address. Skips where the program is missing."""
    command = [
        need("prometheus-alertmanager"),
        f"--config.file={configuration}",
        f"--storage.path={configuration.parent / 'alertmanager'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    ]
    with listening(command, configuration.parent / "alertmanager.log") as address:
        yield address
