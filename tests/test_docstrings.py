"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest

import pytest

import heflwr.monitor.monitor


@pytest.mark.parametrize("module", [heflwr.monitor.monitor])
def test_examples_in_docstrings_run(module: object) -> None:
    """At least one example, and none fails."""
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
