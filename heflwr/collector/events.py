"""Who is told of news: each listener hears at most once a second which clients have sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

LISTENERS_MAX = 16
"""Each holds a thread of the server."""

PERIOD_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
"""A comment so often keeps proxies from hanging up."""

LOOK_SECONDS = 1.0
"""So often a listener that hears nothing is looked for: a closed page gives its place to another."""

CLIENTS_MAX = 1_000
"""Most clients named in one event; beyond, the list is empty and means: any."""


class Hub:
    """Gathers news for listeners. Any thread may call any method."""

    def __init__(self, listeners_max: int = LISTENERS_MAX) -> None:
        self._listeners_max = listeners_max
        self._condition = threading.Condition()
        self._listeners: dict[int, tuple[set[str], list[bool]]] = {}
        self._next = 0
        self._is_closed = False

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    def tell(self, identifier: str, is_function: bool) -> None:
        """Say that a client, or a coordinator with its functions, has sent something."""
        if not self._listeners:
            return
        with self._condition:
            for clients, has_functions in self._listeners.values():
                if is_function:
                    has_functions[0] = True
                else:
                    clients.add(identifier)
            self._condition.notify_all()

    def listen(self, has_gone: Callable[[], bool] = lambda: False) -> Iterator[bytes] | None:
        """Return a stream of Server-Sent Events, None where there are too many listeners.

        Args:
            has_gone: Tells whether the listener has hung up.
        """
        with self._condition:
            if len(self._listeners) >= self._listeners_max or self._is_closed:
                return None
            self._next += 1
            number = self._next
            self._listeners[number] = (set(), [False])
        return _Stream(self, number, has_gone)

    def close(self) -> None:
        """End all streams."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def wait(self, number: int, seconds: float) -> tuple[set[str], bool] | None:
        """Return what a listener has not heard yet, empty after so many seconds without news; None at the end."""
        with self._condition:
            clients, has_functions = self._listeners[number]
            self._condition.wait_for(lambda: clients or has_functions[0] or self._is_closed, seconds)
            if self._is_closed:
                return None
            self._listeners[number] = (set(), [False])
        return clients, has_functions[0]

    def leave(self, number: int) -> None:
        """Forget a listener."""
        with self._condition:
            self._listeners.pop(number, None)


class _Stream(Iterator[bytes]):
    """What one listener hears; close() is called by the WSGI server in any case."""

    def __init__(self, hub: Hub, number: int, has_gone: Callable[[], bool]) -> None:
        self._hub = hub
        self._number = number
        self._has_gone = has_gone
        self._told_at: float | None = None

    def __next__(self) -> bytes:
        if self._told_at is None:
            self._told_at = 0.0
            return b"retry: 3000\n\n"
        time.sleep(max(0.0, self._told_at + PERIOD_SECONDS - time.monotonic()))
        news = self._news()
        if news is None:
            raise StopIteration
        self._told_at = time.monotonic()
        clients, has_functions = news
        if not clients and not has_functions:
            return b": still here\n\n"
        named = sorted(clients) if len(clients) <= CLIENTS_MAX else []
        data = json.dumps({"now": time.time(), "clients": named, "functions": has_functions})
        return f"event: update\ndata: {data}\n\n".encode()

    def _news(self) -> tuple[set[str], bool] | None:
        """Return what there is to tell, nothing when a heartbeat is due; None at the end."""
        due = time.monotonic() + HEARTBEAT_SECONDS
        while not self._has_gone():
            news = self._hub.wait(self._number, LOOK_SECONDS)
            if news is None or news[0] or news[1] or time.monotonic() >= due:
                return news
        return None

    def close(self) -> None:
        self._hub.leave(self._number)
