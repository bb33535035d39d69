"""Serves a run to Prometheus from the ServerApp's process: what every node's calls cost, and how the run goes.

What there is to see is in `heflwr.flower.families`; `PrometheusSink` listens, for HTTP or HTTPS.
"""

from __future__ import annotations

import gzip
import os
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from heflwr.flower.entry import Entry
from heflwr.flower.history import History
from heflwr.monitor.sample import Run
from heflwr.monitor.sinks.prometheus import PrometheusSink

if TYPE_CHECKING:
    from heflwr.flower.families import Families, State
    from heflwr.monitor.sinks._endpoint import Answer, Request

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
        self._server = PrometheusSink(
            port, host=host, certfile=certfile, keyfile=keyfile, username=username, password=password
        )
        self._is_open = False

    @property
    def port(self) -> int:
        """The port that was asked for, or once a run has begun the one that was picked."""
        return int(self._server.facts()["port"])

    @property
    def url(self) -> str:
        """Where this machine itself finds the metrics."""
        return str(self._server.facts()["url"])

    def open(self, history: History) -> None:
        """Listen.

        Raises:
            SinkUnavailable: The port or the certificate cannot be had; the text says why and the way out.
            ImportError: prometheus_client is not installed.
        """
        from heflwr.flower.families import Families

        self.close()
        self._families = Families(history)
        self._server.open(Run("", "", os.getpid(), time.time(), interval=0.0, metrics=()))
        self._server._exposition = _Page(self._families)  # type: ignore[assignment]  # its HTTP, our metrics
        self._is_open = True

    def sent(self, kind: str, round: int, nodes: int) -> None:
        self._families.sent(round)

    def entry(self, entry: Entry) -> None:
        self._families.take(entry)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._server.close()


class _Page:
    """Answers scrapes; as long as nothing is new, with what it wrote before: many nodes are a second's work."""

    def __init__(self, families: Families) -> None:
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.registry import CollectorRegistry

        self._families = families
        self._registry = CollectorRegistry()
        self._registry.register(families)
        self._text = choose_encoder("")
        self._openmetrics = choose_encoder("application/openmetrics-text")
        self._written: dict[tuple[bool, bool], tuple[State, Answer]] = {}

    def answer(self, request: Request) -> Answer:
        """Return the metrics in the format that the client prefers; called from several threads."""
        from heflwr.monitor.sinks._exposition import _weights

        wanted = _weights(request.headers.get("accept", ""))
        openmetrics = wanted.get("application/openmetrics-text", 0.0)
        is_openmetrics = openmetrics > 0 and openmetrics >= wanted.get("text/plain", 0.0)
        is_gzip = _weights(request.headers.get("accept-encoding", "")).get("gzip", 0.0) > 0
        state = self._families.state()
        before, answer = self._written.get((is_openmetrics, is_gzip), (None, None))
        if answer is None or before != state:
            answer = self._write(is_openmetrics, is_gzip)
            self._written[is_openmetrics, is_gzip] = state, answer
        return answer

    def _write(self, is_openmetrics: bool, is_gzip: bool) -> Answer:
        from heflwr.monitor.sinks._endpoint import Answer

        encode, content_type = self._openmetrics if is_openmetrics else self._text
        body = encode(self._registry)
        headers = {"Vary": "Accept, Accept-Encoding"}
        if is_gzip:
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        return Answer(HTTPStatus.OK, body, content_type, headers)
