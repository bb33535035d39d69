"""Makes tests/programs.py and tests/workloads.py importable from every test; has the longest files begin first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

sys.path.insert(0, str(TESTS))

LONGEST_FIRST = (
    "deploy/test_compose_running.py",
    "flower/test_deployment.py",
    "monitor/test_remote.py",
    "monitor/test_power_tegrastats.py",
    "flower/test_watch_deployment.py",
    "deploy/test_prometheus_alert.py",
    "deploy/test_grafana_queries.py",
    "test_example_ml_service.py",
    "flower/test_deployment_secure.py",
    "callbacks/test_callback_keras.py",
    "monitor/test_remote_faults.py",
    "flower/test_console.py",
    "flower/test_deployment_killed.py",
    "flower/test_resident.py",
    "monitor/test_prometheus_real.py",
    "test_example_flower_deployment.py",
    "monitor/test_prometheus_sink.py",
    "flower/test_flower_simulation.py",
    "test_benchmark_monitor.py",
    "test_examples_flower.py",
    "test_example_flower_simulation.py",
)
"""Files of ten seconds and more. Where several processes take the files one after the other, none of these is the last;
between two that keep the cores busy stand two that wait, so that no two deployments of Flower begin together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the longest files to the front; the order is otherwise as it was."""
    rank = {TESTS / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
