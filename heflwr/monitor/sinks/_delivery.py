"""Rows of one run on their way to a server: they wait on disk or in memory, and a thread of its own sends them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heflwr.monitor.errors import SinkUnavailable
from heflwr.monitor.sinks._http import Connection, Server
from heflwr.monitor.sinks._outbox import MemoryOutbox, Outbox
from heflwr.monitor.sinks._sender import Post, Sender, Wire
from heflwr.monitor.sinks._spool import Leftovers, Spool, home_of

_logger = logging.getLogger("heflwr.monitor")


class Delivery:
    """Takes rows between its making and close()."""

    def __init__(
        self,
        server: Server,
        wire: Wire,
        run: str,
        path: str,
        head: str = "{}",
        *,
        spool: Path | None,
        mark: str = "",
        connect: Callable[[Server], Post] = Connection,
    ) -> None:
        """Take handles and start the thread.

        Args:
            server: Where to send.
            wire: In which words.
            run: The run's id.
            path: Endpoint of all rows.
            head: What all rows have in common, as a JSON object.
            spool: Directory in which rows wait; None for memory.
            mark: Keeps what is spooled for one server apart from what is spooled for it in other words.
            connect: Makes what carries the rows, in the thread that uses it; default a POST over HTTP.

        Raises:
            SinkUnavailable: The authority's file, the spool or a thread cannot be had.
        """
        if isinstance(server.verify, str) and not os.path.exists(server.verify):
            raise SinkUnavailable(f"verify names {server.verify}, which does not exist; give the authority's PEM file")
        self._url = server.url
        self._memory = MemoryOutbox(path, head)
        self._spool: Spool | None = None
        outboxes: list[Outbox] = [self._memory]
        claim_leftover = _none
        if spool is not None:
            home = home_of(spool, mark + server.url)
            try:
                self._spool = Spool.begin(home, run, path, head)
            except OSError as error:
                raise SinkUnavailable(f"cannot spool to {spool}: {error.strerror}; choose another directory") from error
            outboxes.insert(0, self._spool)
            claim_leftover = Leftovers(home).claim_next
        self._sender = Sender(server, wire, outboxes, claim_leftover, connect)
        try:
            self._sender.start()
        except RuntimeError as error:  # the system has no thread left
            for outbox in outboxes:
                outbox.close()
            raise SinkUnavailable(f"cannot send to {server.url}: {error}; let more threads run") from error

    def add(self, row: str) -> None:
        """Take one row; never waits for the server."""
        if self._spool is None or not self._spooled(self._spool, row):
            self._memory.append(row)
        self._sender.wake()

    def close(self, seconds: float) -> None:
        """Send what is left, for so many seconds at most."""
        self._sender.close(seconds)
        if self._memory.waiting:
            _logger.warning(
                "%d samples that waited in memory were not taken by %s and are lost; give spool= to keep them",
                self._memory.waiting,
                self._url,
            )
        for outbox in self._sender.outboxes:
            outbox.close()

    def facts(self, sink: str) -> dict[str, Any]:
        """Return what became of the rows, for `monitor.health`."""
        tally, outboxes = self._sender.tally, self._sender.outboxes
        return {
            "sink": sink,
            "url": self._url,
            "sent": tally.sent,
            "waiting": sum(outbox.waiting for outbox in outboxes),
            "dropped": tally.refused + sum(outbox.dropped for outbox in outboxes),
            "spooled": sum(outbox.waiting for outbox in outboxes if outbox is not self._memory),
            "last_error": tally.last_error,
        }

    def _spooled(self, spool: Spool, row: str) -> bool:
        """Return False where the disk does not take it: memory is second best."""
        try:
            spool.append(row)
        except OSError as error:
            self._sender.tally.last_error = f"cannot spool, samples wait in memory: {error}"
            return False
        return True


def _none() -> Outbox | None:
    """Without a spool, former runs left nothing."""
    return None
