"""Who of a server's sockets is waited for: only those that may have changed are asked, however many are open."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Iterator
from typing import Any

from waitress.channel import HTTPChannel

_GONE = (KeyError, ValueError, OSError)
"""What a selector says of a socket that a worker, which could not write to it, closes at the same time."""


class Watch:
    """What waitress has open, by whether there is something to read or room to write.

    Args:
        open_items: Waitress's listening sockets, channels and its trigger, by number; kept by waitress.
    """

    def __init__(self, open_items: dict[int, Any]) -> None:
        self._map = open_items
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        self._active: set[Any] = set()

    def changed(self, item: Any) -> None:
        """Ask this one before the next wait; from any thread."""
        self._active.add(item)

    def has(self, fd: int | None) -> bool:
        """Return whether it is waited for; from any thread."""
        return fd in self._watched

    def forget(self, fd: int) -> None:
        """Wait for it no more, until it has changed."""
        if self._watched.pop(fd, None) is not None:
            with contextlib.suppress(*_GONE):
                self._selector.unregister(fd)

    def wait(self, seconds: float) -> Iterator[tuple[Any, int]]:
        """Wait for some of them, at most so long; give each, while it is open, with its events."""
        self._ask()
        for key, events in self._selector.select(seconds):
            item = self._map.get(key.fd)
            if item is not None:
                self._active.add(item)
                yield item, events

    def close(self) -> None:
        """Wait for nothing any more."""
        self._selector.close()

    def _ask(self) -> None:
        """Ask those that may have changed what they wait for; forget those that wait for a request or an answer."""
        for item in list(self._active):
            self._active.discard(item)  # first: a worker that changes it from now on says so
            fd = item._fileno
            if fd not in self._map or self._map[fd] is not item:
                continue
            is_reading, is_writing = item.readable(), item.writable() and not item.accepting
            if is_writing or not isinstance(item, HTTPChannel):
                self._active.add(item)
            elif not is_reading:  # a worker has it; it stays watched, since clients wait for the answer
                is_reading = bool(self._watched.get(fd, 0) & selectors.EVENT_READ)
            events = (selectors.EVENT_READ if is_reading else 0) | (selectors.EVENT_WRITE if is_writing else 0)
            with contextlib.suppress(*_GONE):
                self._wait_for(fd, events)
            if self._map.get(fd) is not item:
                self.forget(fd)

    def _wait_for(self, fd: int, events: int) -> None:
        if events == self._watched.get(fd, 0):
            return
        if not events:
            self._selector.unregister(fd)
        elif fd in self._watched:
            self._selector.modify(fd, events)
        else:
            self._selector.register(fd, events)
        self._watched[fd] = events
        if not events:
            del self._watched[fd]
