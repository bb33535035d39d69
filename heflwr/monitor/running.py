"""Which monitors are on: kept alive, stopped when the interpreter exits, and let go of in a forked child."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol


class Runnable(Protocol):
    """What a monitor looks like from here."""

    def stop(self) -> None:
        """End the run."""

    def let_go(self) -> None:
        """Forget, in a forked child, a run that belongs to the parent."""


_running: set[Runnable] = set()
_known: weakref.WeakSet[Runnable] = weakref.WeakSet()
"""Every monitor that was ever told to start: one may hold its lock in another thread at the moment of a fork."""

_is_set_up = False


def know(monitor: Runnable) -> None:
    """Take notice of a monitor, before it starts. The first one, not the import, sets up what happens later."""
    global _is_set_up
    if not _is_set_up:
        _is_set_up = True
        atexit.register(_stop_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_let_go_of_all)
    _known.add(monitor)


def add(monitor: Runnable) -> None:
    """Keep a started monitor alive."""
    _running.add(monitor)


def discard(monitor: Runnable) -> None:
    """Let a stopped monitor go."""
    _running.discard(monitor)


def _stop_all() -> None:
    for monitor in tuple(_running):
        monitor.stop()


def _let_go_of_all() -> None:
    _running.clear()
    for monitor in tuple(_known):
        monitor.let_go()
