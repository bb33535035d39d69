"""Programs from the operating system that some tests run for real."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {"prometheus": "prometheus", "promtool": "prometheus", "ip": "iproute2", "openssl": "openssl"}
"""The Debian package that holds each program."""


def need(program: str) -> str:
    """Return the path of a program; without it skip, or fail under CI=true, where nothing may be skipped for that."""
    if path := shutil.which(program):
        return path
    reason = f"this test runs {program}: apt-get install {PACKAGES[program]}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
