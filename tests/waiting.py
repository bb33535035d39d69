"""Waiting for a condition, with a deadline: what tests do instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 20.0, what: str = "the condition") -> T:
    """Return the first truthy value of `condition`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.01)
    return value


def burn(seconds: float) -> None:
    """Use one core for so long, by the calling thread's own CPU clock: a monitor's thread is not part of it."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))
