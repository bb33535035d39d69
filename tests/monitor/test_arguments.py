"""Wrong arguments are refused where they are given, never bent into something that was not meant."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heflwr.monitor import process_monitor
from heflwr.monitor.arguments import boolean, integer
from heflwr.monitor.sinks.file import FileSink
from heflwr.monitor.sinks.prometheus import PrometheusSink
from heflwr.monitor.sinks.remote import RemoteSink


@pytest.mark.parametrize("value", [1, 7, 2**40])
def test_a_whole_number_in_range_is_taken_as_it_is(value: int) -> None:
    """Both ends belong to the range."""
    assert integer("history", value, 1, 2**40) == value


@pytest.mark.parametrize(
    ("check", "error", "text"),
    [
        (lambda: integer("pid", 1.9, 1, 100), TypeError, "pid must be a whole number, got 1.9 .float."),
        (lambda: integer("pid", 2.0, 1, 100), TypeError, "pid must be a whole number, got 2.0"),
        (lambda: integer("pid", True, 1, 100), TypeError, "pid must be a whole number, got True .bool."),
        (lambda: integer("pid", "1", 1, 100), TypeError, "pid must be a whole number, got '1' .str."),
        (lambda: integer("pid", 0, 1, 100), ValueError, "pid must be from 1 to 100, got 0"),
        (lambda: integer("pid", 101, 1, 100), ValueError, "pid must be from 1 to 100, got 101"),
        (lambda: boolean("loopback", "no"), TypeError, "loopback must be True or False, got 'no' .str."),
        (lambda: boolean("loopback", 0), TypeError, "loopback must be True or False, got 0 .int."),
        (lambda: PrometheusSink(8003.5), TypeError, "port must be a whole number, got 8003.5"),
        (lambda: RemoteSink("a:1", simple="no"), TypeError, "simple must be True or False, got 'no'"),
        (lambda: RemoteSink("a:1", timeout=float("nan")), ValueError, "timeout must be from 0.001 to 3600, got nan"),
        (lambda: RemoteSink("a:1", flush_seconds="2"), TypeError, "flush_seconds must be a number, got '2'"),
        (lambda: FileSink("x", format="xml"), ValueError, "format must be one of 'text', 'jsonl', 'csv', got 'xml'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(check: Callable[[], Any], error: type[Exception], text: str) -> None:
    """The text says what was given and what is allowed."""
    with pytest.raises(error, match=text):
        check()


def test_the_authority_may_be_a_path(tmp_path: Path) -> None:
    """The facade takes what the sink takes."""
    authority: os.PathLike[str] = tmp_path / "ca.pem"
    process_monitor.RemoteMonitor("localhost:1", verify=authority)
