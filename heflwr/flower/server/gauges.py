"""Serves a run to Prometheus from the ServerApp's process: what every node's calls cost, and how the run goes.

What there is to see is in `heflwr.flower.server.families`; `heflwr.exposition` listens, for HTTP or HTTPS.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from heflwr.exposition.server import MetricsServer
from heflwr.flower.entry import Entry
from heflwr.flower.history.ledger import History

if TYPE_CHECKING:
    from heflwr.exposition.endpoint import Answer, Request
    from heflwr.exposition.text import Format
    from heflwr.flower.server.families import Families, State
    from heflwr.flower.watch.fleet import Fleet

PORT = 9464
"""Where OpenTelemetry's exporters are scraped, too; 8003 is what a monitor in the same process would listen on."""


class Gauges:
    """Serves metrics under /metrics while a run goes on. The last ones are gone with the run: scrape more often."""

    def __init__(
        self,
        port: int = PORT,
        *,
        host: str = "",
        certfile: str | os.PathLike[str] | None = None,
        keyfile: str | os.PathLike[str] | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        """Remember where to listen.

        Args:
            port: TCP port, 0 to 65535; 0 picks a free one, which `port` tells.
            host: Name or address to listen on; default all interfaces, IPv4 and IPv6.
            certfile: Certificate chain (PEM) to serve HTTPS.
            keyfile: Its private key (PEM, not encrypted), where it is not in the same file.
            username: With `password`: ask for basic authentication.
            password: See `username`.

        Raises:
            TypeError, ValueError: As `PrometheusSink`.
        """
        self._server = MetricsServer(
            port, host=host, certfile=certfile, keyfile=keyfile, username=username, password=password
        )

    @property
    def port(self) -> int:
        """The port that was asked for, or once a run has begun the one that was picked."""
        return self._server.port

    @property
    def url(self) -> str:
        """Where this machine itself finds the metrics."""
        return self._server.url

    def open(self, history: History) -> None:
        """Listen.

        Raises:
            SinkUnavailable: The port or the certificate cannot be had; the text says why and the way out.
        """
        from heflwr.flower.server.families import Families

        self.close()
        self._families = Families(history)
        self._server.open(_Page(self._families).answer)

    def watch(self, fleet: Fleet) -> None:
        """Serve what is known of the fleet, too."""
        self._families.watch(fleet)

    def sent(self, kind: str, round: int, nodes: int) -> None:
        self._families.sent(round)

    def entry(self, entry: Entry) -> None:
        self._families.take(entry)

    def close(self) -> None:
        self._server.close()


class _Page:
    """Answers scrapes; as long as nothing is new, with what it wrote before: many nodes are a second's work."""

    def __init__(self, families: Families) -> None:
        self._families = families
        self._written: dict[Format, tuple[State, Answer]] = {}

    def answer(self, request: Request) -> Answer:
        """Return the metrics in the format that the client prefers; called from several threads."""
        from heflwr.exposition.text import format_for, render

        wanted = format_for(request)
        state = self._families.state()
        before, answer = self._written.get(wanted, (None, None))
        if answer is None or before != state:
            answer = render(self._families.collect(), wanted)
            self._written[wanted] = state, answer
        return answer
