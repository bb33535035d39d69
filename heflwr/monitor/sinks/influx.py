"""Samples written to InfluxDB, or to whatever takes its line protocol: VictoriaMetrics, Telegraf, a heflwr collector.

What is written is in `_influx_lines` and in docs/influx.md.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from heflwr.monitor import arguments
from heflwr.monitor.sample import Run, Sample
from heflwr.monitor.sinks import _address
from heflwr.monitor.sinks._delivery import Delivery
from heflwr.monitor.sinks._http import Answer, Server
from heflwr.monitor.sinks._influx_lines import Lines
from heflwr.monitor.sinks._influx_udp import Datagrams
from heflwr.monitor.sinks._outbox import Batch

DATABASE = "heflwr"

SECONDS_MAX = 3600.0
"""Longest timeout and flush_seconds: a stop() that takes an hour is a mistake."""

_SPOOL_MARK = "influx+"
"""In front of the URL in a spool: what waits for a collector in line protocol is not read by the remote sink."""


class InfluxSink:
    """Writes samples over HTTP in batches, as the remote sink sends them; or over UDP, a datagram a sample."""

    def __init__(
        self,
        url: str,
        *,
        database: str | None = None,
        bucket: str | None = None,
        org: str | None = None,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        verify: bool | str | os.PathLike[str] = True,
        timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        flush_seconds: float = 2.0,
    ) -> None:
        """Check and remember.

        Args:
            url: "http://name:port", "https://..." or "udp://name:port", which takes no other argument.
            database: Database of InfluxDB 1, which must exist; default "heflwr".
            bucket: Bucket of InfluxDB 2, instead of a database.
            org: Its organisation.
            token: API token of InfluxDB 2, or of a collector.
            username: With `password`: who writes, for InfluxDB 1.
            password: See `username`.
            verify: Check the server's certificate; a path (PEM) names the authority to trust.
            timeout: Seconds to wait for a connection and for an answer, > 0.
            spool: Directory in which samples wait for the server; default memory.
            flush_seconds: Longest that close() waits for the last samples to get through, >= 0.

        Raises:
            ValueError: A value that cannot be meant; the text says which can.
            TypeError: A value of the wrong type.
        """
        named = {"database": database, "bucket": bucket, "org": org, "username": username, "password": password}
        for name, value in named.items():
            _text(name, value)
        self._udp = _udp_address(url)
        self._spool_directory = None if spool is None else Path(spool).absolute()
        self.flush_seconds = arguments.number("flush_seconds", flush_seconds, 0.0, SECONDS_MAX)
        timeout = arguments.number("timeout", timeout, 0.001, SECONDS_MAX)
        if self._udp is not None:
            given = [name for name, value in {**named, "token": token, "spool": spool}.items() if value is not None]
            if given:
                raise ValueError(f"a UDP datagram carries no {given[0]}: leave it out, or give a URL with http://")
            self.flush_seconds = 0.0
            return
        if bucket is None and org is not None:
            raise ValueError("org needs a bucket; give bucket=, or database= for InfluxDB 1")
        if bucket is not None and (database is not None or username is not None):
            raise ValueError("bucket= goes with org= and token=, database= with username= and password=; give one kind")
        if (username is None) != (password is None) or (username is not None and token is not None):
            raise ValueError("give both username= and password=, or token=, or neither")
        self._path = _path(database, bucket, org)
        self._server = Server(
            url=_address.http_url("url", url, "password"),
            authorization=_authorization(_address.token("token", token), username, password),
            verify=_address.verify(verify),
            timeout=timeout,
        )

    def open(self, run: Run) -> None:
        self._lines = Lines(run)
        self._outlet: Delivery | Datagrams
        if self._udp is not None:
            self._outlet = Datagrams(*self._udp)
        else:
            self._outlet = Delivery(
                self._server, _LineProtocol(), run.run, self._path, spool=self._spool_directory, mark=_SPOOL_MARK
            )

    def write(self, sample: Sample) -> None:
        self._outlet.add(self._lines.line(sample))

    def close(self) -> None:
        self._outlet.close(self.flush_seconds)

    def facts(self) -> dict[str, Any]:
        return self._outlet.facts("influx")


class _LineProtocol:
    """InfluxDB's words: a line a row; 204 says that all are there, 422 (InfluxDB 2) and 400 that some never will be."""

    name = "InfluxDB"
    content_type = "text/plain; charset=utf-8"
    refusals = frozenset({400, 413, 422})

    def body(self, batch: Batch) -> bytes:
        return "\n".join(batch.rows).encode()

    def samples(self, batch: Batch) -> int:
        return len(batch.rows)

    def is_receipt(self, answer: Answer, batch: Batch) -> bool:
        return answer.status == 204


def _udp_address(url: str) -> tuple[str, int] | None:
    """Return host and port of udp://host:port, None for another scheme. Raises ValueError."""
    if not isinstance(url, str) or not url.lower().startswith("udp://"):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"url must be an address, got {url!r} ({error}); write 'udp://name:port'") from error
    if not host or not port or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"url must be an address, got {url!r}; write 'udp://name:port'")
    return host, port


def _path(database: str | None, bucket: str | None, org: str | None) -> str:
    if bucket is None:
        return f"/write?{urlencode({'db': database or DATABASE, 'precision': 'ns'})}"
    return f"/api/v2/write?{urlencode({'bucket': bucket, **({} if org is None else {'org': org}), 'precision': 'ns'})}"


def _authorization(token: str | None, username: str | None, password: str | None) -> str | None:
    if token is not None:
        return f"Token {token}"
    if username is None:
        return None
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _text(name: str, value: str | None) -> None:
    """Raise TypeError or ValueError where a value is no text that can be sent; never tell a password."""
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty; leave it out")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be text that UTF-8 can carry: {error.reason}") from error
