"""Serves watched functions to Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from heflwr.exposition.server import MetricsServer
from heflwr.live.families import FleetFamilies

if TYPE_CHECKING:
    from types import TracebackType

    from heflwr.exposition.endpoint import Answer, Request
    from heflwr.live.standing import Standing

PORT = 9465
HOST = "127.0.0.1"


class FleetGauges:
    """A server of metrics, between `open` and `close`; a context manager.

    Args:
        standings: Says how the functions stand; called from several threads.
        port: 0 picks a free one, which `url` tells.
        host: Name or address to listen on; default this machine alone.

    Raises:
        ValueError, TypeError: The port or the host cannot be one.
    """

    def __init__(self, standings: Callable[[], Sequence[Standing]], port: int = PORT, host: str = HOST) -> None:
        self._standings, self._families = standings, FleetFamilies()
        self._server = MetricsServer(port, host=host)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where this machine itself finds the metrics."""
        return self._server.url

    def open(self) -> None:
        """Listen; raises SinkUnavailable where the port cannot be had."""
        self._server.open(self._answer)

    def close(self) -> None:
        """Free the port."""
        self._server.close()

    def __enter__(self) -> FleetGauges:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self, request: Request) -> Answer:
        from heflwr.exposition.text import format_for, render

        with self._lock:
            return render(self._families.collect(self._standings()), format_for(request))
