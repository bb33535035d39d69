"""Which monitors are on: kept alive, stopped when the interpreter exits, and let go of in a forked child."""

from __future__ import annotations

import atexit
import os
from typing import Protocol


class _Stoppable(Protocol):
    def stop(self) -> None: ...

    def abandon(self) -> None: ...


_running: set[_Stoppable] = set()
_is_set_up = False


def add(monitor: _Stoppable) -> None:
    """Take a started monitor in. The first one, not the import, sets up what happens at exit and after a fork."""
    global _is_set_up
    if not _is_set_up:
        _is_set_up = True
        atexit.register(_stop_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_abandon_all)
    _running.add(monitor)


def discard(monitor: _Stoppable) -> None:
    """Let a stopped monitor go."""
    _running.discard(monitor)


def _stop_all() -> None:
    for monitor in tuple(_running):
        monitor.stop()


def _abandon_all() -> None:
    for monitor in tuple(_running):
        monitor.abandon()
    _running.clear()
