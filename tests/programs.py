"""What some tests need of the machine: programs from the operating system, and root."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "bwrap": "bubblewrap",
    "chromium": "chromium",
    "influxd": "influxdb",
    "ip": "iproute2",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "victoria-metrics": "victoria-metrics",
}
"""The Debian package that holds each program."""


def need(program: str) -> str:
    """Return the path of a program; without it skip, or fail under CI=true, where nothing may be skipped for that."""
    path = shutil.which(program)
    if path is None:
        go_without(f"this test runs {program}: apt-get install {PACKAGES[program]}")
    return path


def need_root(reason: str) -> None:
    """Go on as root; else skip, or fail under CI=true. The reason says what root is needed for: "mounts a disk"."""
    if os.geteuid() != 0:
        go_without(f"this test {reason}: run as root")


def go_without(reason: str) -> NoReturn:
    """Skip for this reason, or fail under CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
